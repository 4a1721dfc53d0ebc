package main

import (
	"context"
	"os/exec"
	"runtime"
	"strings"

	"github.com/swarmsync/swarmsync/test/bench/internal/report"
)

// newReport is a report with everything but the workloads.
func (b *bench) newReport(ctx context.Context) *report.Report {
	r := &report.Report{
		Started: b.started, Commit: commit(ctx), Arguments: []string{"-w", b.workloads, "-t", b.tools}, Seed: b.seed,
		Scale: b.scale, Runs: b.runs, Machine: b.machine(ctx),
		Versions: map[string]string{}, Absent: map[string]string{},
	}
	for _, t := range tools() {
		if !b.wanted(t.name) {
			continue
		}
		if err := b.available(t); err != nil {
			r.Absent[t.name] = oneLine(err)
			b.say("%s is not measured: %s", t.name, oneLine(err))
			continue
		}
		if t.program() == "" {
			continue
		}
		if version, err := b.versionOf(ctx, t); err == nil {
			r.Versions[t.name] = version
		}
	}
	return r
}

// machine is what the figures depend on. What a system does not tell stays empty.
func (b *bench) machine(ctx context.Context) report.Machine {
	m := report.Machine{CPUs: runtime.NumCPU(), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
	if kernel := firstLine(ctx, "uname", "-sr"); kernel != "" {
		m.System = kernel + " " + runtime.GOARCH
	}
	m.FileSystem = firstLine(ctx, "findmnt", "--noheadings", "--output", "FSTYPE", "--target", b.box.Dir())
	m.Congestion = firstLine(ctx, "sysctl", "-n", "net.ipv4.tcp_congestion_control")
	m.Processor, m.Memory = hardware()
	return m
}

// commit is the one that is checked out, with a plus if files differ from it.
func commit(ctx context.Context) string {
	name := firstLine(ctx, "git", "rev-parse", "--short", "HEAD")
	if name == "" {
		return "unknown"
	}
	if firstLine(ctx, "git", "status", "--porcelain", "--untracked-files=no") != "" {
		name += "+"
	}
	return name
}

// firstLine runs a command of the system, and returns nothing if it fails.
func firstLine(ctx context.Context, args ...string) string {
	output, err := exec.CommandContext(ctx, args[0], args[1:]...).Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(output), "\n")
	return strings.TrimSpace(line)
}
