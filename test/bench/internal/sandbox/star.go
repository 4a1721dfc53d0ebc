package sandbox

import (
	"context"
	"errors"
	"fmt"
)

const (
	// burst is how much a shaped link lets through at once: about the largest segment that the kernel hands over, so
	// that an idle link gains 5 ms at 100 Mbit/s and no more.
	burst = "64kb"
	// queueing is how long a frame may wait at a shaped link before it is dropped, like in a home router.
	queueing = "100ms"
)

// Leaf is one place of a star. A rate is in Mbit/s, frame headers included; 0 means as fast as the machine goes.
type Leaf struct{ UpMbit, DownMbit int }

// Star is a network of namespaces that are all connected to one switch:
//
//	leaf 0 ─ eth0 ─ tbf up ─┐
//	leaf 1 ─ eth0 ─ tbf up ─┼─ switch, a bridge in a namespace of its own; a tbf on each of its ports for the way down
//	leaf 2 ─ eth0 ─ tbf up ─┘
//
// Nothing of it is in the namespace of this process.
type Star struct {
	// Hub is the namespace of the switch; who runs there reaches all leaves, without limits on its own way.
	Hub *Space
	// Leaves are in the order of what was asked for.
	Leaves []*Space
}

// Star makes a star network with MTU 1500.
func (s *Sandbox) Star(ctx context.Context, leaves []Leaf) (star *Star, err error) {
	hub, err := s.space(ctx, "switch")
	if err != nil {
		return nil, err
	}
	star = &Star{Hub: hub}
	defer func() {
		if err != nil {
			err = errors.Join(err, star.Remove())
		}
	}()
	hub.link, hub.Address = "bridge", "10.77.0.254"
	for _, args := range [][]string{
		{"link", "add", "bridge", "type", "bridge", "forward_delay", "0"},
		{"address", "add", hub.Address + "/24", "dev", "bridge"},
		{"link", "set", "bridge", "up"},
	} {
		if err := ip(append([]string{"-n", hub.name}, args...)...); err != nil {
			return star, err
		}
	}
	for i, leaf := range leaves {
		space, err := s.space(ctx, fmt.Sprintf("leaf%d", i))
		if err != nil {
			return star, err
		}
		star.Leaves = append(star.Leaves, space)
		space.link, space.Address = "eth0", fmt.Sprintf("10.77.0.%d", i+1)
		if err := star.connect(space, fmt.Sprintf("port%d", i), leaf); err != nil {
			return star, err
		}
	}
	return star, nil
}

// connect lays the cable from a leaf to the switch.
func (s *Star) connect(leaf *Space, port string, rates Leaf) error {
	hub := s.Hub.name
	for _, args := range [][]string{
		{"-n", hub, "link", "add", port, "mtu", "1500", "type", "veth", "peer", "name", leaf.link, "mtu", "1500", "netns", leaf.name},
		{"-n", hub, "link", "set", port, "master", "bridge", "up"},
		{"-n", leaf.name, "address", "add", leaf.Address + "/24", "dev", leaf.link},
		{"-n", leaf.name, "link", "set", leaf.link, "up"},
	} {
		if err := ip(args...); err != nil {
			return err
		}
	}
	return errors.Join(shape(leaf.name, leaf.link, rates.UpMbit), shape(hub, port, rates.DownMbit))
}

func shape(space, device string, mbit int) error {
	if mbit == 0 {
		return nil
	}
	_, err := output("tc", "-n", space, "qdisc", "add", "dev", device, "root", "tbf",
		"rate", fmt.Sprintf("%dmbit", mbit), "burst", burst, "latency", queueing)
	return err
}

// Remove ends the network; its processes must have ended.
func (s *Star) Remove() error {
	var problems []error
	for _, space := range append([]*Space{s.Hub}, s.Leaves...) {
		problems = append(problems, space.remove())
	}
	return errors.Join(problems...)
}
