package real_test

import (
	"bytes"
	"context"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestBenchPage: a real browser without a network shows the page of a load, charts and all.
func TestBenchPage(t *testing.T) {
	t.Parallel()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium was not found in PATH; install it (Debian: apt-get install chromium)")
	}
	binary, err := gatewayBinary()
	if err != nil {
		t.Fatal(err)
	}
	base, _ := startGateway(t, map[string]server{"example": {Command: binary, Args: []string{"example"}}})
	dir := t.TempDir()
	page, shot := filepath.Join(dir, "page.html"), filepath.Join(dir, "page.png")
	said := command(t, nil, "bench", base+"/mcp", "--era", "both", "--rate", "100/s", "--duration", "2s", "--warmup", "0s",
		"--tool", `example__echo={"message":"x"}`, "--state-dir", dir, "--html", page)
	if !strings.Contains(said, "requests 200, answered 200 ") {
		t.Fatalf("bench says\n%s", said)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--force-color-profile=srgb",
		"--host-resolver-rules=MAP * ~NOTFOUND", "--user-data-dir="+filepath.Join(dir, "profile"), "--window-size=1100,1600", "--screenshot="+shot, "file://"+page)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("chromium: %v\n%s", err, out)
	}
	drawn := dots(t, shot, color.RGBA{0x0b, 0x62, 0xb8, 0xff})
	if drawn < 500 {
		t.Errorf("%d dots of the page have the colour of its lines: three of them cross a chart each", drawn)
	}
}

// dots counts those of a picture that have a colour.
func dots(t *testing.T, file string, want color.RGBA) (n int) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	picture, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for y := picture.Bounds().Min.Y; y < picture.Bounds().Max.Y; y++ {
		for x := picture.Bounds().Min.X; x < picture.Bounds().Max.X; x++ {
			if color.RGBAModel.Convert(picture.At(x, y)) == want {
				n++
			}
		}
	}
	return n
}
