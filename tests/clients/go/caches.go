// rueidis' client-side cache: at one address, and at the nodes of a cluster if SLOTWAY_NODES
// names any. It tracks keys with OPTIN, and reads each within a transaction behind CLIENT CACHING
// YES. What it keeps, what it drops, and that it holds no old value while others write.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

const (
	patience = 20 * time.Second
	writes   = 300
	keyCount = 20
)

var (
	ctx            = context.Background()
	passed, failed int
)

func hold(what string, truth bool, seen any) {
	if truth {
		passed++
		return
	}
	failed++
	fmt.Fprintf(os.Stderr, "FAILED  %s: %v\n", what, seen)
}

func key(number int) string { return fmt.Sprintf("cache:%d", number) }

func connect(addresses []string, isCluster bool) rueidis.Client {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: addresses, ForceSingleClient: !isCluster})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return client
}

// get reads a key by way of the cache; "-" stands for nothing.
func get(client rueidis.Client, key string) (string, bool) {
	answer := client.DoCache(ctx, client.B().Get().Key(key).Cache(), time.Hour)
	text, err := answer.ToString()
	if rueidis.IsRedisNil(err) {
		return "-", answer.IsCacheHit()
	}
	if err != nil {
		return err.Error(), false
	}
	return text, answer.IsCacheHit()
}

func do(client rueidis.Client, command rueidis.Completed) {
	if err := client.Do(ctx, command).Error(); err != nil && !rueidis.IsRedisNil(err) {
		hold("a command", false, err)
	}
}

func until(isSo func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if isSo() {
			return true
		}
	}
	return false
}

func all(client rueidis.Client, value string) func() bool {
	return func() bool {
		for number := range keyCount {
			if got, _ := get(client, key(number)); got != value {
				return false
			}
		}
		return true
	}
}

func is(client rueidis.Client, key, value string) func() bool {
	return func() bool { got, _ := get(client, key); return got == value }
}

func flush(plain rueidis.Client) {
	for _, node := range plain.Nodes() {
		// A replica refuses it.
		_ = node.Do(ctx, node.B().Flushall().Build()).Error()
	}
}

func keeps(cached, plain rueidis.Client) {
	do(plain, plain.B().Set().Key("cache:a").Value("1").Build())
	got, _ := get(cached, "cache:a")
	hold("read", got == "1", got)
	for range 10 {
		got, isHit := get(cached, "cache:a")
		hold("kept", got == "1" && isHit, got)
	}
}

func drops(cached, plain rueidis.Client) {
	for number := range keyCount {
		do(plain, plain.B().Set().Key(key(number)).Value("old").Build())
		get(cached, key(number))
	}
	for number := range keyCount {
		do(plain, plain.B().Set().Key(key(number)).Value("new").Build())
	}
	hold("every change is seen", until(all(cached, "new")), "")
	do(plain, plain.B().Del().Key(key(0)).Build())
	hold("a key that is gone", until(is(cached, key(0), "-")), "")
	do(plain, plain.B().Set().Key(key(1)).Value("brief").Px(30*time.Millisecond).Build())
	hold("a key that expires", until(is(cached, key(1), "-")), "")
	do(cached, cached.B().Set().Key(key(2)).Value("own").Build())
	hold("its own change", until(is(cached, key(2), "own")), "")
	flush(plain)
	hold("FLUSHALL", until(all(cached, "-")), "")
}

// A writer counts a key up; what the cache shows never goes back, and ends at the last.
func whileOthersWrite(cached, plain rueidis.Client) {
	do(plain, plain.B().Set().Key("cache:count").Value("0").Build())
	over := make(chan struct{})
	go func() {
		for range writes {
			do(plain, plain.B().Incr().Key("cache:count").Build())
		}
		close(over)
	}()
	last, isOver := 0, false
	for !isOver {
		select {
		case <-over:
			isOver = true
		default:
		}
		var number int
		got, _ := get(cached, "cache:count")
		if _, err := fmt.Sscan(got, &number); err != nil || number < last {
			hold("never back", false, got)
			return
		}
		last = number
	}
	hold("never back", true, "")
	hold("the last is seen", until(is(cached, "cache:count", fmt.Sprint(writes))), "")
}

func main() {
	where, isCluster := []string{strings.Join(os.Args[1:], ":")}, false
	if nodes := os.Getenv("SLOTWAY_NODES"); nodes != "" {
		where, isCluster = strings.Fields(nodes), true
	}
	plain := connect(where, isCluster)
	flush(plain)
	for _, part := range []func(cached, plain rueidis.Client){keeps, drops, whileOthersWrite} {
		cached := connect(where, isCluster)
		part(cached, plain)
		cached.Close()
	}
	plain.Close()
	kind := "one address"
	if isCluster {
		kind = "cluster"
	}
	fmt.Printf("rueidis caches, %s: %d passed, %d failed\n", kind, passed, failed)
	if failed > 0 || passed == 0 {
		os.Exit(1)
	}
}
