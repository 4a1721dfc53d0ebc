package control

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/node"
)

const (
	pathPrefix = "/v1/"
	// errorTrailer carries the error that cut a content short, in the form of remoteError.
	errorTrailer = "Swarmsync-Error"
)

// The methods of the socket.
const (
	methodAttach    = "attach"
	methodAdd       = "add"
	methodAddReader = "add-reader"
	methodFetch     = "fetch"
	methodContent   = "content"
	methodFind      = "find"
	methodInfo      = "info"
	methodRoots     = "roots"
	methodRemove    = "remove"
	methodVerify    = "verify"
	methodReclaim   = "reclaim"
	methodLink      = "link"
	methodJoin      = "join"
	methodPeers     = "peers"
	methodStatus    = "status"
)

type addRequest struct {
	Path    string   `json:"path,omitempty"`
	Name    string   `json:"name,omitempty"`
	Private bool     `json:"private,omitempty"`
	Copy    bool     `json:"copy,omitempty"`
	Rehash  bool     `json:"rehash,omitempty"`
	Times   bool     `json:"times,omitempty"`
	Perms   bool     `json:"perms,omitempty"`
	Exclude []string `json:"exclude,omitempty"`
}

type fetchRequest struct {
	Link     node.Link     `json:"link"`
	Output   string        `json:"output,omitempty"`
	Force    bool          `json:"force,omitempty"`
	Delete   bool          `json:"delete,omitempty"`
	KeepOld  bool          `json:"keep_old,omitempty"`
	HTTP     string        `json:"http,omitempty"`
	WebSeeds []string      `json:"web_seeds,omitempty"`
	Wait     time.Duration `json:"wait_ns,omitempty"`
	Path     string        `json:"path,omitempty"`
	From     int64         `json:"from,omitempty"`
	To       int64         `json:"to,omitempty"`
	DryRun   bool          `json:"dry_run,omitempty"`
	List     bool          `json:"list,omitempty"`
}

type lookRequest struct {
	Link node.Link     `json:"link"`
	Wait time.Duration `json:"wait_ns"`
}

type rootRequest struct {
	Root cafs.Key `json:"root"`
}

type verifyRequest struct {
	Roots  []cafs.Key    `json:"roots,omitempty"`
	Repair bool          `json:"repair,omitempty"`
	Wait   time.Duration `json:"wait_ns,omitempty"`
}

type joinRequest struct {
	Peers []peer.AddrInfo `json:"peers"`
}

type none struct{}

// line is one line of an answer: an item, or the end. An end always has a result, and an error if the call failed.
type line struct {
	Item   json.RawMessage `json:"item,omitempty"`
	End    bool            `json:"end,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *remoteError    `json:"error,omitempty"`
}

// readAnswer reads the lines of an answer, gives the items to item and returns the result. The error is the call's, or
// wraps ErrGone if the end is missing, or is the first that item returned.
func readAnswer[Result any](r io.Reader, item func(json.RawMessage) error) (Result, error) {
	var result Result
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, lineSizeMax)
	for lines.Scan() {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return result, fmt.Errorf("answer of the running node: %w", err)
		}
		if l.End {
			err := decodeEnd(l, &result)
			return result, err
		}
		if err := item(l.Item); err != nil {
			return result, err
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return result, fmt.Errorf("answer of the running node: %w", err)
	}
	return result, ErrGone
}

// decodeEnd puts the result of a call, which may be there also if the call failed, into result and returns its error.
func decodeEnd(l line, result any) error {
	if err := json.Unmarshal(l.Result, result); err != nil {
		return fmt.Errorf("answer of the running node: %w", err)
	}
	if l.Error != nil {
		return l.Error
	}
	return nil
}
