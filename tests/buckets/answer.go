// What bucket.go says to the vectors on standard input.
package main

import (
	"encoding/json"
	"os"
	"strconv"

	"example.com/serin/bucket"
)

type vectors struct {
	Hashes    []struct{ Text string }
	Buckets   []struct{ Salt, ID string }
	Exposures []struct {
		Salt, ID   string
		Percentage float64
	}
	Variants []struct {
		Flag, ID string
		Weights  map[string]uint64
	}
}

type answers struct {
	Hashes    []string  `json:"hashes"`
	Buckets   []int     `json:"buckets"`
	Exposures []bool    `json:"exposures"`
	Variants  []*string `json:"variants"`
}

func main() {
	var asked vectors
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		panic(err)
	}
	var said answers
	for _, v := range asked.Hashes {
		said.Hashes = append(said.Hashes, strconv.FormatUint(bucket.XXH3([]byte(v.Text)), 10))
	}
	for _, v := range asked.Buckets {
		said.Buckets = append(said.Buckets, bucket.Of(v.Salt, v.ID))
	}
	for _, v := range asked.Exposures {
		said.Exposures = append(said.Exposures, bucket.IsExposed(v.Salt, v.ID, v.Percentage))
	}
	for _, v := range asked.Variants {
		var drawn *string
		if name := bucket.Variant(v.Flag, v.ID, v.Weights); name != "" {
			drawn = &name
		}
		said.Variants = append(said.Variants, drawn)
	}
	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		panic(err)
	}
}
