package protocol

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/swarmsync/swarmsync/cafs"
)

// jsonTokenMax bounds in bytes how far the JSON of a SyncInfo is read for one token and the blanks before it. The
// longest token is a key of 66 bytes; the rest is for the decoder's own reading ahead. Without it the other side could
// fill the memory with a single string.
const jsonTokenMax = 4096

// WriteJSON writes s as {"Chunks":[{"Key":"<64 hex>","Size":n},…],"Perm":[…]}, where no chunks at all are null. It
// writes nothing if s is not valid.
func (s SyncInfo) WriteJSON(w io.Writer) error {
	if err := s.Validate(); err != nil {
		return fmt.Errorf("write a SyncInfo: %w", err)
	}
	out := bufio.NewWriter(w)
	// Of the errors of out, Flush returns the first.
	_, _ = out.WriteString(`{"Chunks":`)
	if len(s.Chunks) == 0 {
		_, _ = out.WriteString("null")
	} else {
		writeJSONList(out, s.Chunks, func(dst []byte, chunk ChunkInfo) []byte {
			return fmt.Appendf(dst, `{"Key":"%s","Size":%d}`, chunk.Key, chunk.Size)
		})
	}
	_, _ = out.WriteString(`,"Perm":`)
	writeJSONList(out, s.perm(), func(dst []byte, place int) []byte { return strconv.AppendInt(dst, int64(place), 10) })
	_, _ = out.WriteString("}")
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write a SyncInfo: %w", err)
	}
	return nil
}

func writeJSONList[T any](out *bufio.Writer, list []T, appendItem func([]byte, T) []byte) {
	var item []byte
	separator := byte('[')
	for _, v := range list {
		item = appendItem(append(item[:0], separator), v)
		_, _ = out.Write(item)
		separator = ','
	}
	_, _ = out.WriteString("]")
}

// ReadJSON reads s from r up to its end. It takes exactly what WriteJSON writes, but for blanks, the order of members,
// upper-case hexadecimal digits, and [] for no chunks. It needs no more memory than the result and some kilobytes. If
// there is an error, s is as before; it wraps io.ErrUnexpectedEOF if r ends too early.
func (s *SyncInfo) ReadJSON(r io.Reader) error {
	d := newJSONReader(r)
	read, err := d.syncInfo()
	if err == nil {
		err = d.end()
	}
	if err == nil {
		err = read.Validate()
	}
	if err != nil {
		return fmt.Errorf("read a SyncInfo: %w", err)
	}
	*s = read
	return nil
}

// jsonReader takes JSON apart token by token: json.Unmarshal would ignore the case of names and take members twice.
type jsonReader struct {
	decoder *json.Decoder
	input   *budgetReader
}

func newJSONReader(r io.Reader) jsonReader {
	input := &budgetReader{r: bufio.NewReader(r)}
	decoder := json.NewDecoder(input)
	decoder.UseNumber()
	return jsonReader{decoder, input}
}

func (d jsonReader) syncInfo() (s SyncInfo, err error) {
	err = d.object([]string{"Chunks", "Perm"}, func(name string) (err error) {
		if name == "Chunks" {
			s.Chunks, err = d.chunks()
		} else {
			s.Perm, err = d.perm()
		}
		return err
	})
	return s, err
}

func (d jsonReader) chunks() (chunks []ChunkInfo, err error) {
	opening, err := d.token()
	if err != nil || opening == nil {
		return nil, err
	}
	err = d.list(opening, func() error {
		if len(chunks) == SyncInfoChunksMax {
			return tooManyChunks(SyncInfoChunksMax + 1)
		}
		chunk, err := d.chunk()
		chunks = append(chunks, chunk)
		return err
	})
	return chunks, err
}

func (d jsonReader) chunk() (chunk ChunkInfo, err error) {
	err = d.object([]string{"Key", "Size"}, func(name string) (err error) {
		if name == "Key" {
			chunk.Key, err = d.key()
		} else {
			chunk.Size, err = d.number()
		}
		return err
	})
	return chunk, err
}

func (d jsonReader) perm() (perm []int, err error) {
	opening, err := d.token()
	if err != nil {
		return nil, err
	}
	err = d.list(opening, func() error {
		if len(perm) == PermMax {
			return permTooLong(PermMax + 1)
		}
		place, err := d.number()
		perm = append(perm, place)
		return err
	})
	if err == nil && len(perm) == 0 {
		err = errors.New("the permutation is empty")
	}
	return perm, err
}

// object reads an object that has each of the members once, in any order, and nothing else. It calls member to read
// their values.
func (d jsonReader) object(names []string, member func(name string) error) error {
	if err := d.delim('{'); err != nil {
		return err
	}
	seen := NewBits(len(names))
	for d.more() {
		token, err := d.token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		i := slices.Index(names, name)
		if i < 0 || seen.Get(i) {
			return fmt.Errorf("member %.40q: want each of %q once", name, names)
		}
		seen.Set(i)
		if err := member(name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := d.delim('}'); err != nil {
		return err
	}
	if seen.Count() != len(names) {
		return fmt.Errorf("members are missing: want each of %q once", names)
	}
	return nil
}

// list reads a list whose first token has been read. It calls item to read the items.
func (d jsonReader) list(opening json.Token, item func() error) error {
	if opening != json.Delim('[') {
		return wrongToken(opening, "[")
	}
	for i := 0; d.more(); i++ {
		if err := item(); err != nil {
			return fmt.Errorf("item %d: %w", i, err)
		}
	}
	return d.delim(']')
}

func (d jsonReader) key() (cafs.Key, error) {
	token, err := d.token()
	if err != nil {
		return cafs.Key{}, err
	}
	text, ok := token.(string)
	if !ok {
		return cafs.Key{}, wrongToken(token, "a key")
	}
	return cafs.ParseKey(text)
}

// number reads an integer of 0 to 2^31-1, without sign, fraction or exponent.
func (d jsonReader) number() (int, error) {
	token, err := d.token()
	if err != nil {
		return 0, err
	}
	text, _ := token.(json.Number)
	n, err := strconv.ParseUint(string(text), 10, 31)
	if err != nil {
		return 0, wrongToken(token, "a number below 2^31")
	}
	return int(n), nil
}

func (d jsonReader) delim(want json.Delim) error {
	token, err := d.token()
	if err == nil && token != want {
		err = wrongToken(token, want.String())
	}
	return err
}

func (d jsonReader) end() error {
	d.input.left = jsonTokenMax
	token, err := d.decoder.Token()
	if err == nil {
		return wrongToken(token, "the end")
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (d jsonReader) token() (json.Token, error) {
	d.input.left = jsonTokenMax
	token, err := d.decoder.Token()
	return token, noEOF(err)
}

// more reports whether another item or member follows. After an error it is false, and token finds the error again.
func (d jsonReader) more() bool {
	d.input.left = jsonTokenMax
	return d.decoder.More()
}

func wrongToken(got json.Token, want string) error {
	return fmt.Errorf("%.40q instead of %s", fmt.Sprint(got), want)
}

// budgetReader fails when more than left bytes are read.
type budgetReader struct {
	r    io.Reader
	left int
}

func (b *budgetReader) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, fmt.Errorf("more than %d bytes without a token", jsonTokenMax)
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
