package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/protocol"
)

const (
	// pagesAtOnce is how many leaf pages one request is for: the list of some 50 MiB. So several holders share the list, and
	// a slow one does not keep much of it.
	pagesAtOnce = 16
	// pagesAhead is how many leaf pages a holder is asked for ahead, in requests that may be small.
	pagesAhead = 4 * pagesAtOnce
	// pageContentBytes is about how much content a leaf page lists.
	pageContentBytes = 3 << 20
	// pagesFar is the round trip from which on waiting for pages costs more than sending all of them.
	pagesFar = 100 * time.Millisecond
	// pagesLook is how many missing pages are looked at for neighbours of one that is needed first.
	pagesLook = 1024
	// A request is taken from a holder that has not answered it after pagesPatience and twice its round trip, if another is
	// idle; it is then not asked for pages for so long.
	pagesPatience = 300 * time.Millisecond
)

// pagesAsked is a request for pages that is not over.
type pagesAsked struct {
	protocol.PagesRequest
	since     time.Time // when it was made, or its last page came
	cancelled bool
	pages     int // that were missing
}

// askPages asks a holder for pages of the list that nobody was asked for, those of the ranges that come first first.
// Callers hold f.mu.
func (f *fetch) askPages(s *session) {
	if f.plan == nil || s.dropped != nil || !s.pagesPause.IsZero() || f.content.listed() {
		return
	}
	asked := 0
	for _, request := range s.pageRequests {
		asked += request.pages
	}
	for wanted := f.pagesWanted(s); asked < wanted && len(s.pageRequests) < protocol.PagesOutstandingMax; {
		request, pages, ok := f.nextPages(s, min(pagesAtOnce, wanted-asked))
		if !ok {
			return
		}
		id, err := s.receiver.RequestSimilarPages(request, pages, f.oldPages(s, request))
		if err != nil {
			return // the session is at a limit, or over: its reader tells
		}
		s.pageRequests[id] = pagesAsked{PagesRequest: request, since: time.Now(), pages: pages}
		asked += pages
	}
}

// pagesWanted returns how many leaf pages a holder should be asked for ahead. A complete one near by is asked for no more than
// the next wishes need, as for data: of those who begin together each gets other pages from it then, and the rest from each
// other. What partial holders have too is no reason to wait: they have it because it was asked for first. Callers hold f.mu.
func (f *fetch) pagesWanted(s *session) int {
	if !f.thrifty(s) {
		return pagesAhead
	}
	target := s.holder.target()
	if f.idle < preparers || f.plan.rareBytes() >= target/2 {
		return 0
	}
	return min(pagesAhead, 1+int(target/pageContentBytes))
}

// thrifty reports whether a holder is asked for few pages: a complete one near by, for a whole root of which nothing may be here.
func (f *fetch) thrifty(s *session) bool {
	return s.holder.complete && s.holder.rtt < pagesFar && !f.hasOthers && !f.opts.DryRun && f.opts.Path == ""
}

// completeSession reports whether there is a session with somebody who has all pages. Callers hold f.mu.
func (f *fetch) completeSession() bool {
	for _, s := range f.sessions {
		if s.holder.complete {
			return true
		}
	}
	return false
}

// nextPages returns what to ask a holder for next: the first page, in the plan's order, that is missing and that nobody was
// asked for, with the leaf pages after it, most pages in all; and how many pages were missing of it. With no holder it is what
// any may be asked for. Callers hold f.mu.
func (f *fetch) nextPages(s *session, most int) (request protocol.PagesRequest, pages int, ok bool) {
	// The entries come first: until they are known, nothing can be written to its place.
	for _, page := range f.entriesMissing() {
		if !f.pageAsked(streamEntries, page) {
			request, pages = f.withOthers(streamEntries, page, page.FirstItem, pagesAtOnce)
			return request, pages, true
		}
	}
	if f.opts.Path != "" && !f.ready {
		return protocol.PagesRequest{}, 0, false // it is not known which others are needed
	}
	outline, order := f.content.outline, f.plan.order
	onlyOwn := s != nil && !s.holder.complete && f.completeSession()
	if onlyOwn {
		most = 1
	}
	listed := func(i int) bool {
		return f.plan.state[order[i]] == rangePrepared || outline.RangeKnown(int64(order[i]))
	}
	end := min(len(order), f.pageCursor+scanMax)
	for f.pageCursor < end && listed(f.pageCursor) {
		f.pageCursor++
	}
	for i := f.pageCursor; i < end; i++ {
		number := int64(order[i])
		if onlyOwn && !s.holder.mayHave(number) {
			continue // it may have the pages of other ranges too, but that is not certain
		}
		if listed(i) {
			continue
		}
		for _, page := range outline.RangeMissing(number) {
			if f.pageAsked(streamData, page) {
				continue
			}
			request, pages = f.withOthers(streamData, page, itemAt(page, number), most)
			return request, pages, true
		}
	}
	return protocol.PagesRequest{}, 0, false
}

// withOthers makes a request of a missing page and others that are likely to be needed. at is the item below it that is
// needed first, if it is not a leaf page; most is how many leaf pages it may be. Callers hold f.mu.
func (f *fetch) withOthers(stream int, page cafs.PageInfo, at int64, most int) (request protocol.PagesRequest, pages int) {
	if page.Level == 0 {
		return f.withNeighbours(stream, page, most)
	}
	// All below it; or, if there may be an older version here, only what leads to the item: the rest is asked for when it is
	// known what of it is here.
	first, last := page.FirstItem, page.FirstItem+page.Items-1
	if f.hasOthers || most < pagesAtOnce {
		first, last = at, at
	}
	return protocol.PagesRequest{Stream: stream, Level: page.Level, First: first, Last: last}, most
}

// itemAt guesses which item below a page begins a range.
func itemAt(page cafs.PageInfo, number int64) int64 {
	into := number*cafs.RangeBytes - page.FirstByte
	if into <= 0 {
		return page.FirstItem
	}
	return page.FirstItem + min(page.Items-1, int64(float64(page.Items)*float64(into)/float64(page.Bytes)))
}

// withNeighbours makes one request of a missing leaf page and those after it that are missing too. Callers hold f.mu.
func (f *fetch) withNeighbours(stream int, first cafs.PageInfo, most int) (request protocol.PagesRequest, pages int) {
	last, pages := first, 1
	missing := f.content.list(stream).Missing(pagesLook)
	i := slices.IndexFunc(missing, func(p cafs.PageInfo) bool { return p.Level == 0 && p.FirstItem == first.FirstItem })
	for ; i >= 0 && i+1 < len(missing) && pages < most; pages++ {
		i++
		next := missing[i]
		if next.Level != 0 || next.FirstItem != last.FirstItem+last.Items || f.pageAsked(stream, next) {
			break
		}
		last = next
	}
	return protocol.PagesRequest{Stream: stream, First: first.FirstItem, Last: last.FirstItem + last.Items - 1}, pages
}

// pageAsked reports whether a page is part of what some holder was asked for. Callers hold f.mu.
func (f *fetch) pageAsked(stream int, p cafs.PageInfo) bool {
	for _, s := range f.sessions {
		for _, request := range s.pageRequests {
			if stream == request.Stream && p.Level <= request.Level && p.FirstItem <= request.Last && p.FirstItem+p.Items > request.First {
				return true
			}
		}
	}
	return false
}

// takeOverPages takes requests from holders that are slow to answer, if another holder has nothing to do. What they are
// for is asked of others when they have confirmed. Callers hold f.mu.
func (f *fetch) takeOverPages(now time.Time) {
	if f.content.listed() {
		return
	}
	idle := func(s *session) bool { return len(s.pageRequests) == 0 && s.pagesPause.IsZero() && s.dropped == nil }
	if !slices.ContainsFunc(slices.Collect(maps.Values(f.sessions)), idle) {
		return
	}
	for _, s := range f.sessionList() {
		for id, request := range s.pageRequests {
			if request.cancelled || now.Sub(request.since) < pagesPatience+2*s.holder.rtt {
				continue
			}
			if s.receiver.Cancel(id, nil) == nil {
				request.cancelled = true
				s.pageRequests[id] = request
			}
		}
	}
}

// pagesDone notes that the rest of an answer is not coming: others are asked for it. Callers hold f.mu.
func (f *fetch) pagesDone(s *session, m protocol.DoneMessage, now time.Time) {
	delete(s.pageRequests, m.ID)
	if m.AnswersCancel {
		s.pagesPause = now.Add(pagesPatience)
	} else {
		s.pagesPause = now.Add(missingPause)
		s.pageRefusals++
	}
	f.askPagesAll()
}

// page takes in a page that a holder sent.
func (f *fetch) page(ctx context.Context, s *session, m protocol.PageMessage) error {
	f.mu.Lock()
	request := s.pageRequests[m.Request].PagesRequest
	s.storing = true
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		s.storing = false
		s.hear(time.Now())
	}()
	outline := f.content.list(request.Stream)
	// What comes before a page in the answer came before it on the stream, so its place is known.
	pages, _ := outline.PagesFor(request.Level, request.First, request.Last, m.Number+1)
	if len(pages) <= m.Number {
		return fmt.Errorf("page %d of an answer that has %d: %w", m.Number, len(pages), errUnaskedPage)
	}
	info := pages[m.Number]
	chunk, err := cafs.VerifyChunk(cafs.ChunkInfo{Key: info.Key, Size: info.Size}, m.Data)
	if err != nil && m.Delta && f.mistakes(s) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.pageCame(s, m)
		return nil
	}
	if err != nil {
		return fmt.Errorf("page at chunk %d: %w", info.FirstItem, err)
	}
	// It is stored first: once the outline has it, others read it.
	if err := f.node.store.Put(ctx, chunk); err != nil {
		err = fmt.Errorf("store a page: %w", err)
		f.fail(err)
		return err
	}
	if err := outline.AddPage(info, m.Data); err != nil {
		f.fail(err) // the bytes are what the root says, so they break the format's rules
		return err
	}
	if err := outline.LoadBelow(ctx, f.node.store, info); err != nil { // an older version has most of them, perhaps
		f.fail(err)
		return err
	}
	if f.content.listed() {
		f.unhold()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.beginTree(ctx)
	f.plan.lookAgain()
	s.bring()
	s.pageRefusals = 0
	f.pageCame(s, m)
	f.changed.Broadcast()
	f.checkComplete()
	return nil
}

// pageCame keeps the account of requests; what is missing yet when one is over is asked for again. Callers hold f.mu.
func (f *fetch) pageCame(s *session, m protocol.PageMessage) {
	request := s.pageRequests[m.Request].PagesRequest
	if open, ok := s.pageRequests[m.Request]; ok {
		open.since = time.Now()
		s.pageRequests[m.Request] = open
	}
	all, complete := f.content.list(request.Stream).PagesFor(request.Level, request.First, request.Last, protocol.PagesMax)
	if m.Number+1 == protocol.PagesMax || complete && m.Number+1 == len(all) {
		s.receiver.EndPages(m.Request)
		if !s.pageRequests[m.Request].cancelled { // else there is an answer to come
			delete(s.pageRequests, m.Request)
		}
		f.askPagesAll()
	}
}

var errUnaskedPage = errors.New("nobody asked for that")

// askPagesAll gives every holder the chance to be asked for pages. Callers hold f.mu.
func (f *fetch) askPagesAll() {
	for _, s := range f.sessionList() {
		f.askPages(s)
	}
}
