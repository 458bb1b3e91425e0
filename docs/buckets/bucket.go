// Package bucket has Serin's buckets, without Serin: who was on the canary, who had a flag on.
//
//	bucket.Of("deployment/d-1", "user-123")            // 3592
//	bucket.IsExposed("deployment/d-1", "user-123", 10) // false
//
// The first argument, the salt, is a kind and a name, the second the user's id; README.md says which ones.
// Copy this file: it needs nothing but the standard library.
package bucket

import (
	"encoding/binary"
	"math"
	"math/bits"
	"sort"
)

// Buckets is how many buckets there are.
const Buckets = 10_000

// Of is a user's bucket, 0 to 9,999.
func Of(salt, id string) int {
	return int(Place(salt, id, Buckets))
}

// IsExposed says whether this percentage of users (two decimals at most) includes the user.
func IsExposed(salt, id string, percentage float64) bool {
	return Of(salt, id) < int(math.Round(percentage*100))
}

// Variant is the variant (a key of weights) that a user who has the flag on draws; "" without weights.
func Variant(flag, id string, weights map[string]uint64) string {
	var names []string
	var total uint64
	for name, weight := range weights {
		names = append(names, name)
		total += weight
	}
	sort.Strings(names)
	point := Place("variant/"+flag, id, total)
	for _, name := range names {
		if point < weights[name] {
			return name
		}
		point -= weights[name]
	}
	return ""
}

// Place is the hash scaled to 0 up to, not including, places.
func Place(salt, id string, places uint64) uint64 {
	place, _ := bits.Mul64(XXH3([]byte(salt+":"+id)), places)
	return place
}

// XXH3-64 with seed 0 and the default secret, after its specification:
// https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md

const secret = "" +
	"\xb8\xfe\x6c\x39\x23\xa4\x4b\xbe\x7c\x01\x81\x2c\xf7\x21\xad\x1c\xde\xd4\x6d\xe9\x83\x90\x97\xdb" +
	"\x72\x40\xa4\xa4\xb7\xb3\x67\x1f\xcb\x79\xe6\x4e\xcc\xc0\xe5\x78\x82\x5a\xd0\x7d\xcc\xff\x72\x21" +
	"\xb8\x08\x46\x74\xf7\x43\x24\x8e\xe0\x35\x90\xe6\x81\x3a\x26\x4c\x3c\x28\x52\xbb\x91\xc3\x00\xcb" +
	"\x88\xd0\x65\x8b\x1b\x53\x2e\xa3\x71\x64\x48\x97\xa2\x0d\xf9\x4e\x38\x19\xef\x46\xa9\xde\xac\xd8" +
	"\xa8\xfa\x76\x3f\xe3\x9c\x34\x3f\xf9\xdc\xbb\xc7\xc7\x0b\x4f\x1d\x8a\x51\xe0\x4b\xcd\xb4\x59\x31" +
	"\xc8\x9f\x7e\xc9\xd9\x78\x73\x64\xea\xc5\xac\x83\x34\xd3\xeb\xc3\xc5\x81\xa0\xff\xfa\x13\x63\xeb" +
	"\x17\x0d\xdd\x51\xb7\xf0\xda\x49\xd3\x16\x55\x26\x29\xd4\x68\x9e\x2b\x16\xbe\x58\x7d\x47\xa1\xfc" +
	"\x8f\xf8\xb8\xd1\x7a\xd0\x31\xce\x45\xcb\x3a\x8f\x95\x16\x04\x28\xaf\xd7\xfb\xca\xbb\x4b\x40\x7e"

var key = []byte(secret)

const (
	prime32x1 = 0x9E3779B1
	prime32x2 = 0x85EBCA77
	prime32x3 = 0xC2B2AE3D
	prime64x1 = 0x9E3779B185EBCA87
	prime64x2 = 0xC2B2AE3D27D4EB4F
	prime64x3 = 0x165667B19E3779F9
	prime64x4 = 0x85EBCA77C2B2AE63
	prime64x5 = 0x27D4EB2F165667C5
	primeMX1  = 0x165667919E3779F9
	primeMX2  = 0x9FB21C651E98DF25
)

// XXH3 is the XXH3-64 of some bytes.
func XXH3(data []byte) uint64 {
	length := len(data)
	total := uint64(length) * prime64x1
	switch {
	case length > 240:
		return long(data)
	case length > 128:
		for at := 0; at < 128; at += 16 {
			total += mix(data, at, at)
		}
		total = avalanche(total)
		for at := 128; at <= length-16; at += 16 {
			total += mix(data, at, at-125)
		}
		return avalanche(total + mix(data, length-16, 119))
	case length > 16:
		// Pieces from both ends, until they meet in the middle.
		for at := 0; 2*at < length; at += 16 {
			total += mix(data, at, 2*at) + mix(data, length-16-at, 2*at+16)
		}
		return avalanche(total)
	case length > 8:
		low := word(data, 0) ^ word(key, 24) ^ word(key, 32)
		high := word(data, length-8) ^ word(key, 40) ^ word(key, 48)
		return avalanche(uint64(length) + bits.ReverseBytes64(low) + high + fold(low, high))
	case length > 3:
		value := half(data, 0)<<32 | half(data, length-4)
		value ^= word(key, 8) ^ word(key, 16)
		value ^= bits.RotateLeft64(value, 49) ^ bits.RotateLeft64(value, 24)
		value *= primeMX2
		value = (value ^ (value>>35 + uint64(length))) * primeMX2
		return value ^ value>>28
	case length > 0:
		first, middle, last := uint64(data[0]), uint64(data[length/2]), uint64(data[length-1])
		value := last | uint64(length)<<8 | first<<16 | middle<<24
		return lastMix(value ^ half(key, 0) ^ half(key, 4))
	default:
		return lastMix(word(key, 56) ^ word(key, 64))
	}
}

// More than 240 bytes: eight sums over stripes of 64 bytes, scrambled after each sixteen.
func long(data []byte) uint64 {
	sums := [8]uint64{
		prime32x3, prime64x1, prime64x2, prime64x3, prime64x4, prime32x2, prime64x5, prime32x1,
	}
	for stripe := 0; stripe < (len(data)-1)/64; stripe++ {
		accumulate(&sums, data, stripe*64, stripe%16*8)
		if stripe%16 == 15 {
			for i := range sums {
				sums[i] = (sums[i] ^ sums[i]>>47 ^ word(key, 128+8*i)) * prime32x1
			}
		}
	}
	accumulate(&sums, data, len(data)-64, 121)
	total := uint64(len(data)) * prime64x1
	for i := 0; i < 8; i += 2 {
		total += fold(sums[i]^word(key, 11+8*i), sums[i+1]^word(key, 19+8*i))
	}
	return avalanche(total)
}

func accumulate(sums *[8]uint64, data []byte, at, keyAt int) {
	for i := range sums {
		plain := word(data, at+8*i)
		keyed := plain ^ word(key, keyAt+8*i)
		sums[i^1] += plain
		sums[i] += (keyed & math.MaxUint32) * (keyed >> 32)
	}
}

func word(data []byte, at int) uint64 {
	return binary.LittleEndian.Uint64(data[at:])
}

func half(data []byte, at int) uint64 {
	return uint64(binary.LittleEndian.Uint32(data[at:]))
}

// The two halves of a product, one upon the other.
func fold(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}

// Sixteen bytes with as many of the secret.
func mix(data []byte, at, keyAt int) uint64 {
	return fold(word(data, at)^word(key, keyAt), word(data, at+8)^word(key, keyAt+8))
}

func avalanche(value uint64) uint64 {
	value = (value ^ value>>37) * primeMX1
	return value ^ value>>32
}

// What ends the hash of the shortest inputs.
func lastMix(value uint64) uint64 {
	value = (value ^ value>>33) * prime64x2
	value = (value ^ value>>29) * prime64x3
	return value ^ value>>32
}
