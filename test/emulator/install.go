package emulator

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Kind is one of the emulators that the Google Cloud CLI can install.
type Kind struct {
	Name   string // for people
	EnvVar string // what client libraries read, host:port
	jar    string // pattern of its file, below the CLI's directory
	class  string // what to run; empty: what the jar says
}

// The emulators.
var (
	Firestore = Kind{
		Name: "Firestore", EnvVar: "FIRESTORE_EMULATOR_HOST",
		jar:   "platform/cloud-firestore-emulator/cloud-firestore-emulator*.jar",
		class: "com.google.cloud.datastore.emulator.firestore.CloudFirestore",
	}
	PubSub = Kind{
		Name: "Pub/Sub", EnvVar: "PUBSUB_EMULATOR_HOST",
		jar: "platform/pubsub-emulator/lib/cloud-pubsub-emulator*.jar",
	}
)

// jvm makes Java start quickly, and speak English.
var jvm = []string{"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Duser.language=en"}

// command returns the program and its first arguments, or an error that names
// what the machine lacks.
func (k Kind) command() ([]string, error) {
	java, err := findJava()
	if err != nil {
		return nil, err
	}
	jar, err := k.findJar()
	if err != nil {
		return nil, err
	}
	if k.class == "" {
		return append(append([]string{java}, jvm...), "-jar", jar), nil
	}
	return append(append([]string{java}, jvm...), "-cp", jar, k.class), nil
}

func findJava() (string, error) {
	if home := os.Getenv("JAVA_HOME"); home != "" {
		if java, err := exec.LookPath(filepath.Join(home, "bin", "java")); err == nil {
			return java, nil
		}
	}
	java, err := exec.LookPath("java")
	if err != nil {
		return "", fmt.Errorf("java is not installed")
	}
	return java, nil
}

// findJar looks below every directory where the CLI may be. The jars are run
// directly: a TERM to the CLI's wrapper leaves its child running.
func (k Kind) findJar() (string, error) {
	for _, root := range sdkRoots() {
		if found, err := filepath.Glob(filepath.Join(root, k.jar)); err == nil && len(found) > 0 {
			return found[len(found)-1], nil
		}
	}
	return "", fmt.Errorf("the %s emulator of the Google Cloud CLI is not installed", k.Name)
}

func sdkRoots() []string {
	var roots []string
	if gcloud, err := exec.LookPath("gcloud"); err == nil {
		if target, err := filepath.EvalSymlinks(gcloud); err == nil {
			roots = append(roots, filepath.Dir(filepath.Dir(target)))
		}
	}
	if home, err := os.UserHomeDir(); err == nil {
		roots = append(roots, filepath.Join(home, "google-cloud-sdk"))
	}
	return append(roots, "/usr/lib/google-cloud-sdk", "/opt/google-cloud-sdk", "/usr/local/share/google-cloud-sdk", "/opt/homebrew/share/google-cloud-sdk")
}
