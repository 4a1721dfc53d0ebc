package sandbox

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of processor time in /proc, the same on all machines that Linux runs on today (USER_HZ).
const tick = time.Second / 100

// machineTicks reads the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal.
func machineTicks() ticks {
	content, err := os.ReadFile("/proc/stat")
	if err != nil {
		return ticks{}
	}
	line, _, _ := strings.Cut(string(content), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 {
		return ticks{}
	}
	var busy time.Duration
	for i, field := range fields[1:9] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return ticks{}
		}
		if i != 3 && i != 4 { // idle and iowait
			busy += time.Duration(n) * tick
		}
	}
	return ticks{busy: busy, known: true}
}

// ownCPU is the processor time of this process, without its children.
func ownCPU() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func statOf(pid int) (processStat, bool) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return processStat{}, false
	}
	// The name, in parentheses, may have anything in it.
	end := bytes.LastIndexByte(content, ')')
	fields := strings.Fields(string(content[end+1:]))
	if end < 0 || len(fields) < 15 {
		return processStat{}, false
	}
	stat := processStat{}
	if stat.parent, err = strconv.Atoi(fields[1]); err != nil {
		return processStat{}, false
	}
	for _, field := range fields[11:15] { // utime, stime, cutime, cstime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return processStat{}, false
		}
		stat.cpu += time.Duration(n) * tick
	}
	return stat, true
}

// readProcesses reads what all processes of the machine have used. It takes about a millisecond.
func readProcesses() processes {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return processes{}
	}
	all := processes{stats: make(map[int]processStat), children: make(map[int][]int)}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if stat, ok := statOf(pid); ok {
			all.stats[pid] = stat
			all.children[stat.parent] = append(all.children[stat.parent], pid)
		}
	}
	return all
}

// peakOf reads the largest resident memory that a process had since it began or since resetPeak.
func peakOf(pid int) int64 {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(content)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				return 0
			}
			return kib << 10
		}
	}
	return 0
}

// resetPeak makes peakOf start anew from what the process has now.
func resetPeak(pid int) {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0) // without the right to, it goes on from before
}
