package protocol

import (
	"errors"
	"fmt"
	"time"
)

// What callers of a session decide on; classify with errors.Is.
var (
	// ErrLimit: the call would exceed a limit of the protocol. Nothing was sent; it can be tried again later.
	ErrLimit = errors.New("limit of the protocol reached")
	// ErrOver: the wish or request of that id is over, or nothing of what the call names is outstanding. What became
	// of it stands in messages that Next has returned already.
	ErrOver = errors.New("nothing of it is outstanding")
	// ErrClosed: the session was closed on this side.
	ErrClosed = errors.New("session is closed")
)

// Rule is what a peer broke. Its text is for logs.
type Rule string

// The rules that a ViolationError names; docs/protocol.md says for each frame what breaks them.
const (
	// RuleMalformed: a body does not have the frame's layout.
	RuleMalformed Rule = "malformed"
	// RuleTooLong: a frame is longer than its type allows.
	RuleTooLong Rule = "too long"
	// RuleUnexpected: a frame of unknown type, of the wrong side, of a feature that is off, or at the wrong time.
	RuleUnexpected Rule = "unexpected"
	// RuleProof: the holder's proof does not hold.
	RuleProof Rule = "wrong proof"
	// RuleRecord: the record's SHA-256 is not the root.
	RuleRecord Rule = "wrong record"
	// RuleNotAsked: a chunk, page or DONE that was not asked for or came before, or an id that was never given.
	RuleNotAsked Rule = "not asked for"
	// RuleSize: a chunk of another size, or bits of another number, than the list says.
	RuleSize Rule = "wrong size"
	// RuleOrder: an id, a page number or an ACK that does not follow the one before.
	RuleOrder Rule = "wrong order"
	// RuleLimit: more outstanding, or told more often, than the limits allow.
	RuleLimit Rule = "over a limit"
)

// ViolationError says that the peer broke the protocol. It ends the session, and the peer is not worth another one.
type ViolationError struct {
	// Frame is the name of the frame in which it showed, such as "CHUNK".
	Frame string
	// Rule is what was broken.
	Rule Rule
	// Err says more.
	Err error
}

func (e *ViolationError) Error() string {
	return fmt.Sprintf("peer broke the protocol: %s: %s: %v", e.Frame, e.Rule, e.Err)
}

// Unwrap returns e.Err.
func (e *ViolationError) Unwrap() error { return e.Err }

func violation(frame frameType, rule Rule, format string, args ...any) error {
	return &ViolationError{Frame: frame.String(), Rule: rule, Err: fmt.Errorf(format, args...)}
}

// RefuseCode is why a holder refuses a session.
type RefuseCode uint8

const (
	// RefuseUnknown: the holder has no such root for this receiver. It says no more: whether it knows the discovery key,
	// whether the proof or the network was wrong, or whether the receiver is not allowed, is nobody's business.
	RefuseUnknown RefuseCode = 1
	// RefuseBusy: the holder has the root, and may have time later.
	RefuseBusy RefuseCode = 2
)

// RefusedError is the outcome of Open when the holder refuses, and of Accept when it refused.
type RefusedError struct {
	Code RefuseCode
	// RetryAfter is how long to stay away when Code is RefuseBusy, in whole milliseconds, and 0 otherwise.
	RetryAfter time.Duration
	// Members are others that a busy holder names, which has proved nothing: perhaps they have the root, and room.
	Members []Member
}

func (e *RefusedError) Error() string {
	if e.Code == RefuseBusy {
		return fmt.Sprintf("refused: busy, retry after %v", e.RetryAfter)
	}
	return "refused: unknown"
}
