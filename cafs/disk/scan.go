package disk

import (
	"errors"
	"io"

	"github.com/swarmsync/swarmsync/cafs"
)

// scan reads the records of a pack, from an offset where one begins up to the end of the file, whatever is in it.
//
// Nothing in there is believed because of where it stands: chunks must hash to their key. When a record is damaged the
// scan goes on behind it, if its length leads to another record; else it looks for the next chunk byte by byte. From
// there on root records are passed over, for it may be that the bytes come from inside of a chunk, and whoever made that
// content would like to write into the catalog.
type scan struct {
	file io.ReaderAt
	size int64

	offset int64
	lost   bool // the place of records is no longer known for sure
	buf    []byte
	start  int64 // offset of buf in the file
}

func newScan(file io.ReaderAt, offset, size int64) *scan {
	return &scan{file: file, size: size, offset: offset, start: offset}
}

// next returns the next whole record and its offset; its data is valid until the call after. At the end of the pack the
// error is io.EOF; others come from reading.
func (s *scan) next() (rec record, offset int64, err error) {
	for s.offset < s.size {
		rec, err := s.at(s.offset)
		if err == nil && !(rec.isRoot && s.lost) {
			offset := s.offset
			s.offset += rec.size()
			return rec, offset, nil
		}
		if err != nil && !isDamage(err) {
			return record{}, 0, err
		}
		if err := s.skip(); err != nil {
			return record{}, 0, err
		}
	}
	return record{}, 0, io.EOF
}

func isDamage(err error) bool { return errors.Is(err, errRecordBad) || errors.Is(err, errRecordShort) }

// at returns the record at an offset. The error is errRecordShort, errRecordBad, or one of reading.
func (s *scan) at(offset int64) (record, error) {
	head, err := s.window(offset, recordHeaderSize)
	if err != nil {
		return record{}, err
	}
	size, _, err := recordLength(head)
	if err != nil {
		return record{}, err
	}
	whole, err := s.window(offset, size)
	if err != nil {
		return record{}, err
	}
	rec, err := decodeRecord(whole)
	if err != nil {
		return record{}, err
	}
	if !rec.authentic() {
		return record{}, errRecordBad
	}
	return rec, nil
}

// authentic reports whether the record's key belongs to its data.
func (r record) authentic() bool {
	if !r.isRoot {
		return cafs.KeyOf(r.data) == r.key
	}
	if len(r.data) == 0 {
		return true
	}
	_, err := decodeRoot(r.key, r.data)
	return err == nil
}

// skip moves on from a damaged record.
func (s *scan) skip() error {
	if !s.lost {
		head, err := s.window(s.offset, recordHeaderSize)
		if err != nil {
			return err
		}
		if size, _, err := recordLength(head); err == nil {
			behind := s.offset + int64(size)
			_, err := s.at(behind)
			if err == nil {
				s.offset = behind
				return nil
			}
			if !isDamage(err) {
				return err
			}
		}
	}
	s.lost = true
	s.offset++
	return nil
}

// window returns the n bytes of the file at an offset, or as many as there are. They are valid until the next call.
func (s *scan) window(offset int64, n int) ([]byte, error) {
	end := min(offset+int64(n), s.size)
	if offset >= end {
		return nil, nil
	}
	if offset < s.start || end > s.start+int64(len(s.buf)) {
		if s.buf == nil {
			s.buf = make([]byte, scanWindow)
		}
		s.buf = s.buf[:min(scanWindow, s.size-offset)]
		s.start = offset
		if _, err := s.file.ReadAt(s.buf, offset); err != nil && !isEOF(err) {
			s.buf = s.buf[:0]
			return nil, err
		}
	}
	return s.buf[offset-s.start : end-s.start], nil
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
