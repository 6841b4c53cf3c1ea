package secretmanagerd

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Pages of any size, put together, are the list, also when items are added and
// deleted meanwhile: what stays comes exactly once.
func TestPagesPutTogetherAreTheList(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.Int64Range(0, 30).Draw(t, "total")
		size := rapid.Int32Range(1, 8).Draw(t, "size")
		gone := rapid.SliceOf(rapid.Int64Range(1, 30)).Draw(t, "gone")
		var items []int64
		for n := total; n > 0; n-- {
			items = append(items, n)
		}
		stays := slices.DeleteFunc(slices.Clone(items), func(n int64) bool { return slices.Contains(gone, n) })

		var got []int64
		req := pageRequest{size: size, list: "x"}
		for {
			page, next, err := cut(items, req, func(n int64) int64 { return n })
			if err != nil || len(page) > int(size) {
				t.Fatalf("a page of %d, %v", len(page), err)
			}
			got = append(got, page...)
			if req.token = next; next == "" {
				break
			}
			items = append([]int64{total + 1}, stays...) // a newer one comes, and some go
		}
		for _, n := range stays {
			if count := len(slices.DeleteFunc(slices.Clone(got), func(m int64) bool { return m != n })); count != 1 {
				t.Fatalf("%d came %d times", n, count)
			}
		}
	})
}

// No filter and no name, however odd, makes the server fail.
func FuzzParsers(f *testing.F) {
	for _, seed := range []string{
		"", "state:ENABLED", "labels.team=pay AND name:x", `name:"a b"`, " AND ", "state:", ":x", "NOT state:ENABLED",
		"projects/p/secrets/s/versions/latest", "projects/acme-dev/secrets/s", "projects//secrets//versions/", "projects/p/locations/l/secrets/s",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = parseFilter(text, secretFields)
		_, _ = parseFilter(text, versionFields)
		_, _ = parseProject(text)
		if secret, version, err := parseVersion(text); err == nil {
			again, sameVersion, err := parseVersion(secret + "/versions/" + version)
			if err != nil || again != secret || sameVersion != version {
				t.Errorf("%q is read as %s and %s, which is read as %s and %s", text, secret, version, again, sameVersion)
			}
		}
		_, _, _ = cut([]int64{2, 1}, pageRequest{token: text}, func(n int64) int64 { return n })
	})
}
