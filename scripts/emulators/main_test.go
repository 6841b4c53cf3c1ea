package main

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sealpost/sealpost/test/emulator"
)

// asCommand makes this test binary behave as the command itself.
const asCommand = "EMULATORS_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// command is this command with arguments and a changed environment.
func command(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(executable, args...)
	cmd.Env = append(append(os.Environ(), asCommand+"=1"), env...)
	return cmd
}

// elsewhere names emulators that run already, so that none is started.
var elsewhere = []string{"FIRESTORE_EMULATOR_HOST=127.0.0.1:1", "PUBSUB_EMULATOR_HOST=127.0.0.1:2"}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	const uses = `printf 'Firestore\ta.test\tTestA\nPub/Sub\ta.test\tTestB\n' >> "$` + emulator.TallyEnv + `"; `
	for name, test := range map[string]struct {
		args []string
		code int
		says string
	}{
		"success":             {[]string{"--", "sh", "-c", "exit 0"}, 0, "0 tests ran on Firestore"},
		"failure":             {[]string{"--", "sh", "-c", "exit 7"}, 7, ""},
		"a signal":            {[]string{"--", "sh", "-c", "kill -KILL $$"}, 137, ""},
		"no command":          {nil, 2, "usage:"},
		"no such command":     {[]string{"--", "/nowhere/at/all"}, 1, "/nowhere/at/all"},
		"what is set is kept": {[]string{"--", "sh", "-c", "test $FIRESTORE_EMULATOR_HOST = 127.0.0.1:1"}, 0, ""},
		"enough tests":        {[]string{"-at-least", "2", "--", "sh", "-c", uses}, 0, "1 tests ran on Pub/Sub"},
		"too few tests":       {[]string{"-at-least", "3", "--", "sh", "-c", uses}, 1, "2 tests had an emulator; at least 3 must"},
		"failure comes first": {[]string{"-at-least", "3", "--", "sh", "-c", "exit 7"}, 7, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := command(t, elsewhere, test.args...)
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState == nil {
				t.Fatal(err)
			}
			if code := cmd.ProcessState.ExitCode(); code != test.code || !strings.Contains(string(out), test.says) {
				t.Errorf("got exit code %d, want %d, and this, which should say %q:\n%s", code, test.code, test.says, out)
			}
		})
	}
}

func TestMachineWithoutEmulators(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		ci   string
		code int
		says string
		ran  bool
	}{
		"by hand": {"CI=", 0, "tests on Firestore will be skipped: java is not installed", true},
		"in CI":   {"CI=true", 1, "java is not installed", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bare := []string{"PATH=" + t.TempDir(), "JAVA_HOME=", "FIRESTORE_EMULATOR_HOST=", "PUBSUB_EMULATOR_HOST=", test.ci}
			cmd := command(t, bare, "-at-least", "1", "--", "/bin/echo", "it ran")
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			_ = cmd.Run()
			if code := cmd.ProcessState.ExitCode(); code != test.code || !strings.Contains(stderr.String(), test.says) {
				t.Errorf("got exit code %d, want %d, and this, which should say %q:\n%s", code, test.code, test.says, &stderr)
			}
			if ran := stdout.String() == "it ran\n"; ran != test.ran {
				t.Errorf("the command ran: %t, want %t", ran, test.ran)
			}
		})
	}
}

// However the command ends, its emulators end. One is started each time: that is slow enough.
func TestEmulatorsEnd(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		kind emulator.Kind
		end  func(*exec.Cmd, io.Closer) error
		code int
	}{
		"with the command": {emulator.Firestore, func(_ *exec.Cmd, stdin io.Closer) error { return stdin.Close() }, 0},
		"at TERM":          {emulator.PubSub, func(cmd *exec.Cmd, _ io.Closer) error { return cmd.Process.Signal(syscall.SIGTERM) }, 143},
		"at KILL":          {emulator.PubSub, func(cmd *exec.Cmd, _ io.Closer) error { return cmd.Process.Kill() }, -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "at KILL" && runtime.GOOS != "linux" {
				t.Skip("skipped: only Linux ties a child to its parent")
			}
			// The command says where its emulator is and waits for its input's end.
			script := "echo $" + test.kind.EnvVar + "; exec cat"
			cmd := command(t, append(slices.Clone(elsewhere), test.kind.EnvVar+"=", "CI="), "--", "sh", "-c", script)
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(stdout).ReadString('\n')
			host := strings.TrimSpace(line)
			if err != nil || host == "" {
				_ = stdin.Close()
				_ = cmd.Wait()
				skipOrFail(t)
			}
			if !answers(host) {
				t.Errorf("%s does not answer while the command runs", host)
			}
			if err := test.end(cmd, stdin); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // closes the input, which ends what a KILL has orphaned
			if code := cmd.ProcessState.ExitCode(); code != test.code {
				t.Errorf("got exit code %d, want %d", code, test.code)
			}
			if !ends(host) {
				t.Errorf("%s still answers", host)
			}
		})
	}
}

func skipOrFail(t *testing.T) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal("java or the emulators are not installed")
	}
	t.Skip("skipped: java or the emulators are not installed")
}

func answers(host string) bool {
	response, err := http.Get("http://" + host + "/")
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// ends waits for a killed process to be gone, which takes the kernel a moment.
func ends(host string) bool {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if !answers(host) {
			return true
		}
	}
	return false
}
