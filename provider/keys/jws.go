package keys

import (
	"bytes"
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
	"io"

	"github.com/go-jose/go-jose/v4"
)

// TypAccess is the typ header of access tokens (RFC 9068 §2.1).
const TypAccess = "at+jwt"

const typJWT = "JWT"

// systemRandom is where secrets come from, whatever random source is injected
// for identifiers.
var systemRandom io.Reader = rand.Reader

// ErrInvalid: the token was not signed by one of our keys, or has another form.
var ErrInvalid = errors.New("token is not ours")

// Header of a verified token.
type Header struct {
	Alg string `json:"alg"`
	Typ string `json:"typ"`
	Kid string `json:"kid"`
}

var b64 = base64.RawURLEncoding.Strict()

func header(alg, typ, kid string) string {
	raw, _ := json.Marshal(struct {
		Alg string `json:"alg"`
		Typ string `json:"typ,omitempty"`
		Kid string `json:"kid"`
	}{alg, typ, kid})
	return b64.EncodeToString(raw)
}

func (k *key) header(typ string) string {
	if h, ok := k.headers[typ]; ok {
		return h
	}
	return header(k.Alg, typ, k.ID)
}

// Sign returns payload as a compact JWS (RFC 7515 §7.1), signed with the realm's
// newest key of alg. It is written by hand because a general builder costs as
// much as the ES256 signature itself; the payload is marshalled once.
func (r *Ring) Sign(alg, typ string, payload []byte) (string, error) {
	k := r.current[alg]
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

func (k *key) sign(input []byte) ([]byte, error) {
	sum := sha256.Sum256(input)
	switch k.Alg {
	case RS256:
		return k.signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	case ES256:
		// JWS wants the two integers at full length, not ASN.1 (RFC 7518 §3.4).
		r, s, err := ecdsa.Sign(rand.Reader, k.signer.(*ecdsa.PrivateKey), sum[:])
		if err != nil {
			return nil, err
		}
		out := make([]byte, 64)
		r.FillBytes(out[:32])
		s.FillBytes(out[32:])
		return out, nil
	case EdDSA:
		return k.signer.Sign(nil, input, crypto.Hash(0))
	}
	return nil, errors.New("unknown algorithm")
}

// signingInput leaves room for the signature.
func signingInput(header string, payload []byte) []byte {
	const signatureRoom = 1 + (rsa2048+2)/3*4
	out := make([]byte, 0, len(header)+1+b64.EncodedLen(len(payload))+signatureRoom)
	out = append(append(out, header...), '.')
	return b64.AppendEncode(out, payload)
}

const rsa2048 = 256

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

// SignHMAC returns payload as a compact JWS under the realm's symmetric key. The
// same payload gives the same bytes.
func (r *Ring) SignHMAC(payload []byte) (string, error) {
	k := r.current[HS512]
	if k == nil {
		return "", errors.New("signing token: the realm has no symmetric key")
	}
	input := signingInput(k.header(typJWT), payload)
	signature := k.mac(input)
	return string(b64.AppendEncode(append(input, '.'), signature)), nil
}

// VerifyHMAC opens what SignHMAC made with any symmetric key that the realm ever
// had. It compares the header byte by byte with the one that we write, so no
// other form reaches the parser. The error wraps ErrInvalid.
func (r *Ring) VerifyHMAC(token string) ([]byte, error) {
	raw := []byte(token)
	last := bytes.LastIndexByte(raw, '.')
	first := bytes.IndexByte(raw, '.')
	if first < 0 || last == first {
		return nil, ErrInvalid
	}
	signature, err := b64.DecodeString(token[last+1:])
	if err != nil {
		return nil, ErrInvalid
	}
	k := r.symmetric(token[:first])
	if k == nil || !hmac.Equal(k.mac(raw[:last]), signature) {
		return nil, ErrInvalid
	}
	payload, err := b64.DecodeString(token[first+1 : last])
	if err != nil {
		return nil, ErrInvalid
	}
	return payload, nil
}

// symmetric finds the symmetric key by the header that it writes.
func (r *Ring) symmetric(header string) *key {
	for _, k := range r.byID {
		if k.Alg == HS512 && k.headers[typJWT] == header {
			return k
		}
	}
	return nil
}

func (k *key) mac(input []byte) []byte {
	m := hmac.New(sha512.New, k.Private)
	m.Write(input)
	return m.Sum(nil)
}
