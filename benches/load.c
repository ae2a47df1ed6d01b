/* The part of the benchmark that redis-benchmark cannot play: whole
 * transactions, and a probe that notes how long other shards keep it waiting.
 *
 *   load units PORT CONNECTIONS PIPELINE UNITS KEYSPACE < template
 *       A unit is a few commands that belong together, given once as RESP on
 *       standard input. Every `__rand_int__` in it becomes the same random
 *       twelve-digit number below KEYSPACE, a new one each time the unit is
 *       sent, so that the commands of one transaction share a hashtag. With a
 *       KEYSPACE of 0 the numbers are 0, 1, 2 …: that fills a server. Every
 *       `__rand_two__` becomes another number, always random. Each connection
 *       keeps PIPELINE units in flight, one write per batch.
 *
 *   load fanout PORT SUBSCRIBERS PIPELINE MESSAGES BYTES
 *       So many connections subscribe to one channel; one more publishes so
 *       many messages of so many bytes, PIPELINE in each write, the next write
 *       only when every subscriber has had all of the last. Checks that each
 *       subscriber gets every message, whole and in order.
 *
 *   load probe PORT MICROSECONDS KEY...
 *       One connection per key sends GET every so many microseconds (the next
 *       one only after the answer) until standard input closes.
 *
 * beside-redis compiles this file with the system's C compiler at run time; it
 * talks to 127.0.0.1 only. Both modes print one line of JSON, and end with
 * status 1 and a sentence when anything unexpected happens.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PLACEHOLDER "__rand_int__"
#define OTHER_PLACEHOLDER "__rand_two__"
#define DIGITS 12
#define TEMPLATE_BYTES_MAX (64 * 1024)
#define PROBES_MAX 64

static void __attribute__((noreturn, format(printf, 1, 2))) give_up(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static long number(const char *text, long least) {
    char *end;
    long value = strtol(text, &end, 10);
    if (*text == '\0' || *end != '\0' || value < least) give_up("'%s' is not a number of at least %ld", text, least);
    return value;
}

static int64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static int connect_to(long port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int socket_fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    if (socket_fd < 0 || connect(socket_fd, (struct sockaddr *)&address, sizeof address) != 0)
        give_up("connect to port %ld: %s", port, strerror(errno));
    setsockopt(socket_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return socket_fd;
}

/* xorshift64*: the keys need to be spread, not secret. */
static uint64_t random_state = 0x9e3779b97f4a7c15u;
static uint64_t in_turn; /* the next number when a server is filled */
static uint64_t random_next(void) {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 0x2545f4914f6cdd1du;
}

/* Counts whole top-level replies in a stream that may break anywhere. A line is
 * collected up to its CR LF; a bulk string's body is skipped by its length; an
 * array adds its elements to what must still arrive. */
struct replies {
    char line[128];
    size_t line_bytes;
    int64_t skip;    /* bytes of a bulk string (and its CR LF) still to pass over */
    int64_t missing; /* elements still to come before the reply is whole */
    int64_t whole;
    int64_t errors;
};

static void element_done(struct replies *replies) {
    if (replies->missing > 0) replies->missing--;
    if (replies->missing == 0) replies->whole++;
}

static void take_line(struct replies *replies) {
    int64_t length = strtoll(replies->line + 1, NULL, 10);
    switch (replies->line[0]) {
    case '-':
        if (replies->errors++ == 0) fprintf(stderr, "load: the server answered %s\n", replies->line);
        element_done(replies);
        break;
    case '+':
    case ':':
        element_done(replies);
        break;
    case '$':
        if (length >= 0) replies->skip = length + 2;
        else element_done(replies);
        break;
    case '*':
        if (length < 0) replies->errors++; /* a transaction that did not run */
        if (replies->missing > 0) replies->missing--;
        if (length > 0) replies->missing += length;
        if (replies->missing == 0) replies->whole++;
        break;
    default: give_up("not a reply: %s", replies->line);
    }
}

static void feed(struct replies *replies, const char *bytes, size_t length) {
    const char *end = bytes + length;
    while (bytes < end) {
        if (replies->skip > 0) {
            int64_t step = end - bytes < replies->skip ? end - bytes : replies->skip;
            bytes += step;
            replies->skip -= step;
            if (replies->skip == 0) element_done(replies);
            continue;
        }
        char byte = *bytes++;
        if (byte == '\n') {
            replies->line[replies->line_bytes] = '\0';
            take_line(replies);
            replies->line_bytes = 0;
        } else if (byte != '\r') {
            /* Only an error's text can be longer than this, and it may be cut. */
            if (replies->line_bytes < sizeof replies->line - 1) replies->line[replies->line_bytes++] = byte;
        }
    }
}

struct connection {
    int fd;
    char *batch;
    size_t batch_bytes, sent;
    int64_t expected; /* whole replies after which the batch is answered */
    int64_t units;    /* in the batch under way */
    struct replies replies;
};

struct unit {
    char *bytes;
    size_t length;
    size_t places[256]; /* where each PLACEHOLDER starts */
    size_t place_count;
    size_t other_places[64]; /* where each OTHER_PLACEHOLDER starts */
    size_t other_place_count;
    int64_t commands;
};

static struct unit read_unit(void) {
    struct unit unit = {.bytes = malloc(TEMPLATE_BYTES_MAX)};
    unit.length = fread(unit.bytes, 1, TEMPLATE_BYTES_MAX, stdin);
    if (unit.length == 0 || unit.length == TEMPLATE_BYTES_MAX) give_up("the template is empty or too long");
    for (size_t at = 0; at < unit.length;) {
        /* Commands are counted by their array headers: a line that begins with '*'. */
        if (unit.bytes[at] == '*' && (at == 0 || unit.bytes[at - 1] == '\n')) unit.commands++;
        if (unit.length - at >= DIGITS && memcmp(unit.bytes + at, PLACEHOLDER, DIGITS) == 0) {
            if (unit.place_count == sizeof unit.places / sizeof unit.places[0]) give_up("too many placeholders");
            unit.places[unit.place_count++] = at;
            at += DIGITS;
        } else if (unit.length - at >= DIGITS && memcmp(unit.bytes + at, OTHER_PLACEHOLDER, DIGITS) == 0) {
            if (unit.other_place_count == sizeof unit.other_places / sizeof unit.other_places[0]) give_up("too many placeholders");
            unit.other_places[unit.other_place_count++] = at;
            at += DIGITS;
        } else {
            at++;
        }
    }
    return unit;
}

static void write_digits(char *digits, uint64_t value) {
    for (int place = DIGITS - 1; place >= 0; place--, value /= 10) digits[place] = (char)('0' + value % 10);
}

static void next_batch(struct connection *connection, const struct unit *unit, int64_t units, uint64_t keyspace) {
    for (int64_t index = 0; index < units; index++) {
        char digits[DIGITS];
        uint64_t value = keyspace > 0 ? random_next() % keyspace : in_turn++;
        write_digits(digits, value);
        char *start = connection->batch + (size_t)index * unit->length;
        for (size_t place = 0; place < unit->place_count; place++) memcpy(start + unit->places[place], digits, DIGITS);
        for (size_t place = 0; place < unit->other_place_count; place++)
            write_digits(start + unit->other_places[place], random_next() % (keyspace > 0 ? keyspace : 1000000));
    }
    connection->units = units;
    connection->batch_bytes = (size_t)units * unit->length;
    connection->sent = 0;
    connection->expected = connection->replies.whole + units * unit->commands;
}

/* Returns whether everything of the batch has been handed to the kernel. */
static int send_more(struct connection *connection) {
    while (connection->sent < connection->batch_bytes) {
        ssize_t wrote = write(connection->fd, connection->batch + connection->sent, connection->batch_bytes - connection->sent);
        if (wrote < 0 && errno == EAGAIN) return 0;
        if (wrote <= 0) give_up("write: %s", strerror(errno));
        connection->sent += (size_t)wrote;
    }
    return 1;
}

static void watch(int epoll, int operation, struct connection *connection, int all_sent) {
    struct epoll_event event = {.events = EPOLLIN | (all_sent ? 0u : (unsigned)EPOLLOUT), .data.ptr = connection};
    if (epoll_ctl(epoll, operation, connection->fd, &event) != 0) give_up("epoll_ctl: %s", strerror(errno));
}

static int run_units(long port, long connection_count, long pipeline, int64_t units, uint64_t keyspace) {
    struct unit unit = read_unit();
    struct connection *connections = calloc((size_t)connection_count, sizeof *connections);
    int epoll = epoll_create1(0);
    int64_t to_send = units, answered = 0;
    random_state ^= (uint64_t)getpid() << 32 ^ (uint64_t)now_ns();
    for (long index = 0; index < connection_count; index++) {
        struct connection *connection = &connections[index];
        connection->fd = connect_to(port);
        fcntl(connection->fd, F_SETFL, O_NONBLOCK);
        connection->batch = malloc((size_t)pipeline * unit.length);
        for (long copy = 0; copy < pipeline; copy++)
            memcpy(connection->batch + (size_t)copy * unit.length, unit.bytes, unit.length);
        watch(epoll, EPOLL_CTL_ADD, connection, 1);
    }
    int64_t started = now_ns();
    for (long index = 0; index < connection_count && to_send > 0; index++) {
        int64_t take = to_send < pipeline ? to_send : pipeline;
        to_send -= take;
        next_batch(&connections[index], &unit, take, keyspace);
        if (!send_more(&connections[index])) watch(epoll, EPOLL_CTL_MOD, &connections[index], 0);
    }
    static char input[256 * 1024];
    while (answered < units) {
        struct epoll_event events[64];
        int ready = epoll_wait(epoll, events, 64, 30000);
        if (ready == 0) give_up("no answer for 30 seconds");
        for (int index = 0; index < ready; index++) {
            struct connection *connection = events[index].data.ptr;
            if (events[index].events & EPOLLOUT && send_more(connection)) watch(epoll, EPOLL_CTL_MOD, connection, 1);
            if (!(events[index].events & ~(unsigned)EPOLLOUT)) continue;
            ssize_t got = read(connection->fd, input, sizeof input);
            if (got < 0 && errno == EAGAIN) continue;
            if (got <= 0) give_up("the server closed a connection");
            feed(&connection->replies, input, (size_t)got);
            if (connection->replies.whole > connection->expected) give_up("more replies than requests");
            if (connection->units > 0 && connection->replies.whole == connection->expected) {
                answered += connection->units;
                connection->units = 0;
                if (to_send > 0) {
                    int64_t take = to_send < pipeline ? to_send : pipeline;
                    to_send -= take;
                    next_batch(connection, &unit, take, keyspace);
                    if (!send_more(connection)) watch(epoll, EPOLL_CTL_MOD, connection, 0);
                }
            }
        }
    }
    double seconds = (double)(now_ns() - started) / 1e9;
    int64_t errors = 0;
    for (long index = 0; index < connection_count; index++) errors += connections[index].replies.errors;
    printf("{\"units\": %lld, \"commands\": %lld, \"errors\": %lld, \"seconds\": %.6f}\n", (long long)answered,
           (long long)(answered * unit.commands), (long long)errors, seconds);
    return errors != 0;
}

/* A subscriber's stream is known to the byte, so it is compared and not parsed. */
struct subscriber {
    int fd;
    int64_t received; /* bytes */
};

static int run_fanout(long port, long subscriber_count, long pipeline, int64_t messages, long bytes) {
    struct subscriber *subscribers = calloc((size_t)subscriber_count, sizeof *subscribers);
    int epoll = epoll_create1(0);
    static const char subscribe[] = "*2\r\n$9\r\nSUBSCRIBE\r\n$4\r\nnews\r\n";
    static const char confirmed[] = "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n";
    static char input[256 * 1024];
    for (long index = 0; index < subscriber_count; index++) {
        int fd = subscribers[index].fd = connect_to(port);
        if (write(fd, subscribe, sizeof subscribe - 1) != (ssize_t)sizeof subscribe - 1) give_up("write: %s", strerror(errno));
        for (size_t got = 0; got < sizeof confirmed - 1;) {
            ssize_t more = read(fd, input + got, sizeof confirmed - 1 - got);
            if (more <= 0) give_up("subscriber %ld was turned away", index);
            got += (size_t)more;
        }
        if (memcmp(input, confirmed, sizeof confirmed - 1) != 0) give_up("not a confirmation: %.60s", input);
        fcntl(fd, F_SETFL, O_NONBLOCK);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &subscribers[index]};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) give_up("epoll_ctl: %s", strerror(errno));
    }
    char *payload = malloc((size_t)bytes + 1), *request = malloc((size_t)bytes + 128), *message = malloc((size_t)bytes + 128);
    memset(payload, 'm', (size_t)bytes);
    payload[bytes] = '\0';
    int request_bytes = sprintf(request, "*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$%ld\r\n%s\r\n", bytes, payload);
    int message_bytes = sprintf(message, "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$%ld\r\n%s\r\n", bytes, payload);
    char *batch = malloc((size_t)request_bytes * (size_t)pipeline), answer[32];
    for (long copy = 0; copy < pipeline; copy++) memcpy(batch + copy * request_bytes, request, (size_t)request_bytes);
    int answer_bytes = sprintf(answer, ":%ld\r\n", subscriber_count);
    int publisher = connect_to(port);
    int64_t started = now_ns(), published = 0;
    while (published < messages) {
        int64_t take = messages - published < pipeline ? messages - published : pipeline;
        for (int64_t sent = 0; sent < take * request_bytes;) {
            ssize_t wrote = write(publisher, batch + sent, (size_t)(take * request_bytes - sent));
            if (wrote <= 0) give_up("write: %s", strerror(errno));
            sent += wrote;
        }
        for (int64_t got = 0; got < take * answer_bytes;) {
            ssize_t more = read(publisher, input, (size_t)(take * answer_bytes - got));
            if (more <= 0) give_up("the server closed the publisher");
            for (ssize_t at = 0; at < more; at++)
                if (input[at] != answer[(got + at) % answer_bytes]) give_up("PUBLISH did not reach all subscribers");
            got += more;
        }
        published += take;
        for (long complete = 0; complete < subscriber_count;) {
            struct epoll_event events[256];
            int ready = epoll_wait(epoll, events, 256, 30000);
            if (ready == 0) give_up("no message for 30 seconds");
            for (int index = 0; index < ready; index++) {
                struct subscriber *subscriber = events[index].data.ptr;
                ssize_t got = read(subscriber->fd, input, sizeof input);
                if (got < 0 && errno == EAGAIN) continue;
                if (got <= 0) give_up("the server closed a subscriber");
                for (ssize_t at = 0; at < got; at++)
                    if (input[at] != message[(subscriber->received + at) % message_bytes]) give_up("not the message");
                subscriber->received += got;
                if (subscriber->received > published * message_bytes) give_up("more messages than were published");
                complete += subscriber->received == published * message_bytes;
            }
        }
    }
    double seconds = (double)(now_ns() - started) / 1e9;
    printf("{\"messages\": %lld, \"seconds\": %.6f}\n", (long long)published, seconds);
    return 0;
}

struct probe {
    int fd;
    const char *key;
    int waiting;
    int64_t sent_ns, next_ns, worst_ns, count;
    struct replies replies;
};

static int run_probe(long port, long interval_us, int keys, char **names) {
    struct probe probes[PROBES_MAX] = {0};
    struct pollfd polled[PROBES_MAX + 1];
    if (keys > PROBES_MAX) give_up("at most %d keys", PROBES_MAX);
    int64_t interval_ns = interval_us * 1000, start = now_ns();
    for (int index = 0; index < keys; index++) {
        probes[index].fd = connect_to(port);
        probes[index].key = names[index];
        /* Spread over the interval, so that one probe's turn does not delay the next. */
        probes[index].next_ns = start + interval_ns * index / keys;
        polled[index] = (struct pollfd){.fd = probes[index].fd, .events = POLLIN};
    }
    polled[keys] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    printf("ready\n");
    fflush(stdout);
    for (int stopping = 0;;) {
        int64_t now = now_ns(), next = INT64_MAX;
        int waiting = 0;
        for (int index = 0; index < keys; index++) {
            struct probe *probe = &probes[index];
            if (!probe->waiting && !stopping && now >= probe->next_ns) {
                char request[256];
                int length = snprintf(request, sizeof request, "*2\r\n$3\r\nGET\r\n$%zu\r\n%s\r\n", strlen(probe->key), probe->key);
                probe->waiting = 1;
                probe->sent_ns = now_ns();
                if (write(probe->fd, request, (size_t)length) != length) give_up("write: %s", strerror(errno));
            }
            waiting += probe->waiting;
            if (!probe->waiting && probe->next_ns < next) next = probe->next_ns;
        }
        if (stopping && waiting == 0) break;
        int64_t pause_ns = stopping || next == INT64_MAX ? 1000000000 : next - now;
        if (pause_ns < 0) pause_ns = 0;
        struct timespec pause = {.tv_sec = pause_ns / 1000000000, .tv_nsec = pause_ns % 1000000000};
        if (ppoll(polled, (nfds_t)(stopping ? keys : keys + 1), &pause, NULL) < 0) give_up("poll: %s", strerror(errno));
        if (!stopping && polled[keys].revents) stopping = 1;
        for (int index = 0; index < keys; index++) {
            struct probe *probe = &probes[index];
            char input[4096];
            if (!polled[index].revents || !probe->waiting) continue;
            ssize_t got = read(probe->fd, input, sizeof input);
            if (got <= 0) give_up("the server closed a connection");
            int64_t whole = probe->replies.whole;
            feed(&probe->replies, input, (size_t)got);
            if (probe->replies.whole == whole) continue;
            int64_t read_ns = now_ns(), latency = read_ns - probe->sent_ns;
            if (latency > probe->worst_ns) probe->worst_ns = latency;
            probe->count++;
            probe->waiting = 0;
            probe->next_ns = probe->sent_ns + interval_ns;
            if (probe->next_ns < read_ns) probe->next_ns = read_ns;
        }
    }
    int64_t errors = 0, count = 0, worst = 0;
    for (int index = 0; index < keys; index++) {
        errors += probes[index].replies.errors;
        count += probes[index].count;
        if (probes[index].worst_ns > worst) worst = probes[index].worst_ns;
    }
    printf("{\"answers\": %lld, \"worst_us\": %lld, \"errors\": %lld}\n", (long long)count, (long long)(worst / 1000), (long long)errors);
    return errors != 0;
}

int main(int count, char **words) {
    if (count == 7 && strcmp(words[1], "units") == 0)
        return run_units(number(words[2], 1), number(words[3], 1), number(words[4], 1), number(words[5], 1), (uint64_t)number(words[6], 0));
    if (count >= 5 && strcmp(words[1], "probe") == 0)
        return run_probe(number(words[2], 1), number(words[3], 1), count - 4, words + 4);
    if (count == 7 && strcmp(words[1], "fanout") == 0)
        return run_fanout(number(words[2], 1), number(words[3], 1), number(words[4], 1), number(words[5], 1), number(words[6], 1));
    give_up("usage: load units PORT CONNECTIONS PIPELINE UNITS KEYSPACE < template | load fanout PORT SUBSCRIBERS PIPELINE MESSAGES BYTES | load probe PORT MICROSECONDS KEY...");
}
