package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/swarmsync/swarmsync/node"
)

// answerWriter writes the lines of one answer. One goroutine writes, so that events don't wait for the client.
type answerWriter struct {
	lines   chan line
	written chan struct{} // closed when the writer is gone
}

// startAnswer begins an answer; end must be called. The writer stops by itself when the connection is gone: then writing
// fails at once.
func startAnswer(w http.ResponseWriter) *answerWriter {
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := &answerWriter{make(chan line, eventsQueued), make(chan struct{})}
	go func() {
		defer close(out.written)
		encoder, flusher := json.NewEncoder(w), http.NewResponseController(w)
		for l := range out.lines {
			// An error means that the client is gone, which cancels the call; the rest is for nobody.
			if encoder.Encode(l) == nil && len(out.lines) == 0 {
				_ = flusher.Flush()
			}
		}
	}()
	return out
}

// event writes an event, or drops it if the client does not keep up.
func (out *answerWriter) event(event node.Event) {
	select {
	case out.lines <- line{Item: mustMarshal(event)}:
	default:
	}
}

// item writes what may not be lost; it waits for the client and fails with ctx's error.
func (out *answerWriter) item(ctx context.Context, item any) error {
	select {
	case out.lines <- line{Item: mustMarshal(item)}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end writes the end and returns when everything is written.
func (out *answerWriter) end(result any, err error) {
	out.lines <- line{End: true, Result: mustMarshal(result), Error: encodeError(err)}
	close(out.lines)
	<-out.written
}

// mustMarshal encodes our own types, which have nothing that JSON lacks.
func mustMarshal(value any) json.RawMessage {
	text, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("control: encode %T: %v", value, err))
	}
	return text
}
