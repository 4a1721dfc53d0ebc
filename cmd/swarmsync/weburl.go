package main

import (
	"errors"
	"net/url"
	"strings"
)

// webURL is a flag that is the URL of a web server.
type webURL string

func (u *webURL) String() string { return string(*u) }
func (*webURL) Type() string     { return "URL" }

func (u *webURL) Set(text string) error {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "" {
		return errors.New("want http://HOST/PATH or https://HOST/PATH")
	}
	*u = webURL(text)
	return nil
}

// webURLs is a flag for some of them.
type webURLs []string

func (u *webURLs) String() string { return strings.Join(*u, ",") }
func (*webURLs) Type() string     { return "URL" }

func (u *webURLs) Set(text string) error {
	var one webURL
	if err := one.Set(text); err != nil {
		return err
	}
	*u = append(*u, string(one))
	return nil
}

func (*webURLs) isRepeatable() {}
