package node

import "time"

// SetPatience replaces the times that silent and absent peers are given: for the answer to OPEN, without a chunk before
// a rate is known, and before the first new try after a session broke.
func (cfg *Config) SetPatience(open, stall, retry time.Duration) {
	cfg.testOnlyPatience = &patience{open, stall, retry, settleInterval}
}
