package storage

import (
	"bytes"
	"errors"
)

// Key joins parts into one key such that the order of keys is the order of
// their parts, no part can be mistaken for another, and the key of the first n
// parts is a prefix of exactly the keys that begin with these parts. A zero
// byte in a part becomes 0x00 0xff, and each part ends with 0x00 0x01.
func Key(parts ...string) []byte {
	n := 0
	for _, p := range parts {
		n += len(p) + 2
	}
	k := make([]byte, 0, n)
	for _, p := range parts {
		for i := range len(p) {
			k = append(k, p[i])
			if p[i] == 0 {
				k = append(k, 0xff)
			}
		}
		k = append(k, 0, 1)
	}
	return k
}

// Parts is the inverse of Key.
func Parts(key []byte) ([]string, error) {
	var parts []string
	var part []byte
	for len(key) > 0 {
		i := bytes.IndexByte(key, 0)
		if i < 0 || i+1 >= len(key) {
			return nil, errors.New("splitting key: unfinished part")
		}
		part = append(part, key[:i]...)
		mark := key[i+1]
		key = key[i+2:]
		switch mark {
		case 1:
			parts = append(parts, string(part))
			part = part[:0]
		case 0xff:
			part = append(part, 0)
		default:
			return nil, errors.New("splitting key: bad escape")
		}
	}
	if len(part) > 0 {
		return nil, errors.New("splitting key: unfinished part")
	}
	return parts, nil
}
