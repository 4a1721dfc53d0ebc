package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/internal/durable"
)

const (
	// cloneBlock is a multiple of the block size of every file system that can share space between files.
	cloneBlock = 4096
	// cloneLeast is the least that is worth a system call.
	cloneLeast = 64 << 10
)

// cloneRun is a row of neighbouring chunks that stand in a file in the same order.
type cloneRun struct {
	path        string
	first, last int   // chunks of the row, last included
	from, to    int64 // where they begin in the file, and in the output
	size        int64
}

// cloneRuns finds the runs of a row that can share their space with what is at locations: those that are as far from the
// border of a block there as they are here, and large enough.
func cloneRuns(row cafs.RangeChunks, locations []cafs.Location) []cloneRun {
	var runs []cloneRun
	offset := row.Offset
	for i, chunk := range row.Chunks {
		loc, size := locations[i], int64(chunk.Size)
		last := len(runs) - 1
		switch {
		case loc.Path == "" || (loc.Offset-offset)%cloneBlock != 0:
		case last >= 0 && runs[last].last == i-1 && runs[last].path == loc.Path && runs[last].from+runs[last].size == loc.Offset:
			runs[last].last = i
			runs[last].size += size
		default:
			runs = append(runs, cloneRun{path: loc.Path, first: i, last: i, from: loc.Offset, to: offset, size: size})
		}
		offset += size
	}
	var large []cloneRun
	for _, run := range runs {
		if run.size >= cloneLeast {
			large = append(large, run)
		}
	}
	return large
}

// clone lets the output share its space with files that have parts of a row, where the file systems can do that, and
// returns for each chunk whether it did. Nothing of it was hashed. A nil output shares nothing.
func (o *output) clone(ctx context.Context, store cafs.Store, row cafs.RangeChunks) (cloned []bool, err error) {
	cloned = make([]bool, len(row.Chunks))
	referrer, ok := store.(cafs.Referrer)
	if !ok || !o.keeps() || o.resumed || o.unshared.Load() {
		return cloned, nil
	}
	keys := make([]cafs.Key, len(row.Chunks))
	for i, chunk := range row.Chunks {
		keys[i] = chunk.Key
	}
	locations, err := referrer.Locate(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("locate chunks: %w", err)
	}
	for _, run := range cloneRuns(row, locations) {
		err := o.cloneRun(run)
		if errors.Is(err, errors.ErrUnsupported) {
			o.unshared.Store(true)
			return cloned, nil
		}
		if err != nil {
			log.Debugf("share the space of %s: %v", run.path, err)
			continue // the file has changed, perhaps; its chunks are copied one by one
		}
		for i := run.first; i <= run.last; i++ {
			cloned[i] = true
		}
	}
	return cloned, nil
}

// cloneRun shares whole blocks, and copies what is before and behind them.
func (o *output) cloneRun(run cloneRun) (err error) {
	file, err := os.Open(run.path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	head := (cloneBlock - run.to%cloneBlock) % cloneBlock
	blocks := (run.size - head) / cloneBlock * cloneBlock
	o.writing.Lock()
	defer o.writing.Unlock()
	if err := durable.Clone(o.file, run.to+head, file, run.from+head, blocks); err != nil {
		return err
	}
	for _, part := range [][2]int64{{0, head}, {head + blocks, run.size}} {
		to := io.NewOffsetWriter(o.file, run.to+part[0])
		if _, err := io.Copy(to, io.NewSectionReader(file, run.from+part[0], part[1]-part[0])); err != nil {
			return err
		}
	}
	return nil
}
