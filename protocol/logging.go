package protocol

import logging "github.com/ipfs/go-log/v2"

// LogSubsystem is the name under which the package logs with go-log: at level debug, the transfers that are done.
// Errors are returned and not logged.
const LogSubsystem = "remotesync"

var log = logging.Logger(LogSubsystem)

// SetLoggingEnabled sets the level of the remotesync subsystem to debug, or back to the level that subsystems of this
// process start with. It holds for the whole process and may be called at any time; go-log's own functions and
// environment variables do the same with more choice.
func SetLoggingEnabled(enabled bool) {
	level := logging.DefaultLevel()
	if enabled {
		level = logging.LevelDebug
	}
	if err := logging.SetLogLevel(LogSubsystem, level.String()); err != nil {
		panic("protocol: go-log does not know its own level: " + err.Error())
	}
}
