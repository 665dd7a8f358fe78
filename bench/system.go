package main

import "fmt"

type text interface{ string | []byte }

// system is something that seals bytes into a text and opens it again. The
// closures keep keys and whatever can be made ready beforehand.
type system struct {
	name    string
	expiry  bool
	sealing func(plain []byte) op
	// opening seals the payloads; the operation opens them all, one by one.
	opening func(plains ...[]byte) (op, int, error)
	// trip seals, lets tamper change the text, and opens.
	trip func(plain []byte, tamper func([]byte) []byte) ([]byte, error)
}

// entry makes a system of its two functions. Each may take or return what fits
// it, so that no system pays for a conversion that its users would not make.
// What they return may be memory that the next call uses again.
func entry[S, O text](name string, expiry bool, seal func([]byte) (S, error), open func(O) ([]byte, error)) system {
	return system{
		name: name, expiry: expiry,
		sealing: func(plain []byte) op {
			return func() error {
				_, err := seal(plain)
				return err
			}
		},
		opening: func(plains ...[]byte) (op, int, error) {
			var texts []O
			wire := 0
			for _, plain := range plains {
				s, err := seal(plain)
				if err != nil {
					return nil, 0, fmt.Errorf("%s: %w", name, err)
				}
				texts, wire = append(texts, O(string(s))), wire+len(s)
			}
			return func() error {
				for _, t := range texts {
					if _, err := open(t); err != nil {
						return err
					}
				}
				return nil
			}, wire, nil
		},
		trip: func(plain []byte, tamper func([]byte) []byte) ([]byte, error) {
			s, err := seal(plain)
			if err != nil {
				return nil, err
			}
			return open(O(string(tamper([]byte(string(s))))))
		},
	}
}
