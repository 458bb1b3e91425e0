// A shop behind Serin, on Go's standard library: reads flags and the track from request headers.
//
//	PORT=3000 VERSION=v1 go run .
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math/rand"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

var version = env("VERSION", "v1")

// How long answers that are under way may take at the end.
const drainTimeout = 10 * time.Second

func env(name, fallback string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return fallback
}

// variant is the value of a flag; the default where Serin says nothing of it.
func variant(r *http.Request, name, fallback string) string {
	if value := r.Header.Get("x-feature-" + name); value != "" {
		return value
	}
	return fallback
}

// isOn says whether a flag is on. Whatever is neither true nor false is the default.
func isOn(r *http.Request, name string, fallback bool) bool {
	switch variant(r, name, "") {
	case "true":
		return true
	case "false":
		return false
	}
	return fallback
}

// servedBy has the track; without Serin in front there is no such header.
func servedBy(r *http.Request) string {
	track := r.Header.Get("x-serin-track")
	if track == "" {
		track = "no track"
	}
	return version + " on " + track
}

func home(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" {
		http.Error(w, "no such page", http.StatusNotFound)
		return
	}
	dashboard := "old"
	if isOn(r, "new-dashboard", false) {
		dashboard = "new"
	}
	fmt.Fprintf(w, "The %s dashboard in %s, %s\n", dashboard, variant(r, "color", "black"), servedBy(r))
}

func search(w http.ResponseWriter, r *http.Request) {
	// The new search does not work yet: its page has status 200 and is an error all the same.
	if isOn(r, "new-search", false) {
		w.Header().Set("x-serin-outcome", "error")
		fmt.Fprintln(w, "Sorry, we found nothing.")
		return
	}
	fmt.Fprintf(w, "3 results, %s\n", servedBy(r))
}

// page is what users see: a release that goes wrong answers 500 to a part of it.
func page(failRate float64, show http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// The page depends on who asks: shared caches must not keep it.
		w.Header().Set("cache-control", "private, no-store")
		if rand.Float64() < failRate {
			log.Printf("request %s fails", r.Header.Get("x-request-id"))
			http.Error(w, version+" fails", http.StatusInternalServerError)
			return
		}
		show(w, r)
	}
}

func main() {
	// FAIL_RATE=0.05 answers 500 to one page in twenty.
	failRate, err := strconv.ParseFloat(env("FAIL_RATE", "0"), 64)
	if err != nil {
		log.Fatalf("FAIL_RATE: %v", err)
	}
	rand.Seed(time.Now().UnixNano())
	http.HandleFunc("/", page(failRate, home))
	http.HandleFunc("/search", page(failRate, search))
	http.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	http.HandleFunc("/version", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, version) })

	server := &http.Server{
		Addr:              net.JoinHostPort(env("HOST", "127.0.0.1"), env("PORT", "3000")),
		ReadHeaderTimeout: 10 * time.Second,
	}
	end, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	drained := make(chan error, 1)
	go func() {
		<-end.Done()
		// Ends in peace: what is under way is answered, idle connections are closed.
		limit, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		drained <- server.Shutdown(limit)
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	if err := <-drained; err != nil {
		log.Fatal(err)
	}
}
