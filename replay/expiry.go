package replay

import "container/heap"

// expiry lists ids by the second until which they are kept. An id is listed
// once; if its record is kept longer by the time it comes up, it is listed anew.
type expiry struct {
	due   map[int64][]ID
	order seconds // the keys of due
}

func (q *expiry) add(sec int64, id ID) {
	if q.due == nil {
		q.due = make(map[int64][]ID)
	}
	ids, listed := q.due[sec]
	if !listed {
		heap.Push(&q.order, sec)
	}
	q.due[sec] = append(ids, id)
}

// take removes up to n ids of the earliest second, if that is before now.
func (q *expiry) take(now int64, n int) (sec int64, ids []ID) {
	if len(q.order) == 0 || q.order[0] >= now {
		return 0, nil
	}
	sec = q.order[0]
	all := q.due[sec]
	rest := len(all) - min(n, len(all))
	if rest > 0 {
		q.due[sec] = all[:rest]
	} else {
		delete(q.due, sec)
		heap.Pop(&q.order)
	}
	return sec, all[rest:]
}

// seconds is a min-heap.
type seconds []int64

func (h seconds) Len() int           { return len(h) }
func (h seconds) Less(i, j int) bool { return h[i] < h[j] }
func (h seconds) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *seconds) Push(x any)        { *h = append(*h, x.(int64)) }
func (h *seconds) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}
