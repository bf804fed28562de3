package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// Values of the typ header.
const (
	TypJWT    = "JWT"
	TypAccess = "at+jwt" // access tokens (RFC 9068 §2.1)
)

// ErrInvalid: the token was not signed by one of our keys, or has another form.
var ErrInvalid = errors.New("token is not ours")

// Header of a verified token.
type Header struct {
	Alg string `json:"alg"`
	Typ string `json:"typ"`
	Kid string `json:"kid"`
}

var b64 = base64.RawURLEncoding.Strict()

// Sign returns payload as a compact JWS (RFC 7515 §7.1), signed with the realm's
// newest key of alg. It is written by hand because a general builder costs as
// much as the ES256 signature itself.
func (r *Ring) Sign(alg, typ string, payload []byte) (string, error) {
	k := r.current(alg)
	if k == nil || k.signer == nil {
		return "", fmt.Errorf("signing token: the realm has no %s key", alg)
	}
	input := signingInput(k.header(typ), payload)
	signature, err := k.sign(input)
	if err != nil {
		return "", fmt.Errorf("signing token with %s: %w", alg, err)
	}
	return string(b64.AppendEncode(append(input, '.'), signature)), nil
}

// Verify opens a token that one of our asymmetric keys signed, with the very
// algorithm of that key. The error wraps ErrInvalid.
func (r *Ring) Verify(token string) (Header, []byte, error) {
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA})
	if err != nil {
		return Header{}, nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	h := signed.Signatures[0].Protected
	k := r.byID[h.KeyID]
	if k == nil || k.signer == nil || k.Alg != h.Algorithm {
		return Header{}, nil, fmt.Errorf("%w: no such key", ErrInvalid)
	}
	payload, err := signed.Verify(k.signer.Public())
	if err != nil {
		return Header{}, nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	typ, _ := h.ExtraHeaders[jose.HeaderType].(string)
	return Header{Alg: h.Algorithm, Typ: typ, Kid: h.KeyID}, payload, nil
}

// SignHMAC returns payload as a compact JWS with the header typ JWT under the
// realm's symmetric key. The same payload gives the same bytes.
func (r *Ring) SignHMAC(payload []byte) (string, error) {
	k := r.current(HS512)
	if k == nil {
		return "", errors.New("signing token: the realm has no symmetric key")
	}
	input := signingInput(k.header(TypJWT), payload)
	return string(append(append(input, '.'), k.mac(string(input))...)), nil
}

// VerifyHMAC opens what SignHMAC made with any symmetric key that the realm ever
// had. Header and signature are compared byte by byte with those that we write:
// there is one form of a token, and no other reaches a parser. The error is
// ErrInvalid.
func (r *Ring) VerifyHMAC(token string) ([]byte, error) {
	last := strings.LastIndexByte(token, '.')
	if last < 0 {
		return nil, ErrInvalid
	}
	input, signature := token[:last], token[last+1:]
	head, body, _ := strings.Cut(input, ".")
	k := r.symmetric[head]
	if k == nil || !hmac.Equal(k.mac(input), []byte(signature)) {
		return nil, ErrInvalid
	}
	payload, err := b64.DecodeString(body)
	if err != nil {
		return nil, ErrInvalid
	}
	return payload, nil
}

func (k *key) sign(input []byte) ([]byte, error) {
	sum := sha256.Sum256(input)
	switch k.Alg {
	case RS256:
		return k.signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	case ES256:
		private, ok := k.signer.(*ecdsa.PrivateKey)
		if !ok {
			return nil, fmt.Errorf("key %s is a %T", k.ID, k.signer)
		}
		// JWS wants the two integers at full length, not ASN.1 (RFC 7518 §3.4).
		r, s, err := ecdsa.Sign(rand.Reader, private, sum[:])
		if err != nil {
			return nil, err
		}
		out := make([]byte, 64)
		r.FillBytes(out[:32])
		s.FillBytes(out[32:])
		return out, nil
	case EdDSA:
		return k.signer.Sign(rand.Reader, input, crypto.Hash(0))
	}
	return nil, errors.New("unknown algorithm")
}

// mac is the signature of a symmetric key, encoded.
func (k *key) mac(input string) []byte {
	m := hmac.New(sha512.New, k.Private)
	m.Write([]byte(input))
	return b64.AppendEncode(nil, m.Sum(nil))
}

// header returns the encoded header; those of hot paths are made once.
func (k *key) header(typ string) string {
	if h, ok := k.headers[typ]; ok {
		return h
	}
	return header(k.Alg, typ, k.ID)
}

func header(alg, typ, kid string) string {
	raw, _ := json.Marshal(Header{Alg: alg, Typ: typ, Kid: kid}) // strings alone: cannot fail
	return b64.EncodeToString(raw)
}

// signingInput leaves room for the longest signature.
func signingInput(header string, payload []byte) []byte {
	const rsa2048 = 256 // bytes
	room := len(".") + b64.EncodedLen(rsa2048)
	out := make([]byte, 0, len(header)+1+b64.EncodedLen(len(payload))+room)
	out = append(append(out, header...), '.')
	return b64.AppendEncode(out, payload)
}
