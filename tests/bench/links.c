/* What idle links cost at least: a full mesh of plain TCP, in which each process writes one packet of
   the size of a sealed cell on each link, from one timer, and reads what comes. scripts/bench measures
   sesame against it.

   links LISTENER OTHERS MS PORT...: LISTENER is a listening socket that is inherited, OTHERS says how
   many connect to it, and this process connects to each PORT of 127.0.0.1. */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { RECORD = 1046, MOST = 256 };

static void check(int result, const char *what) {
    if (result < 0) {
        perror(what);
        exit(1);
    }
}

static int dial(int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int link = socket(AF_INET, SOCK_STREAM, 0);
    check(link, "socket");
    check(connect(link, (struct sockaddr *)&to, sizeof to), "connect");
    return link;
}

int main(int count, char **arguments) {
    if (count < 4) {
        fputs("usage: links LISTENER OTHERS MS PORT...\n", stderr);
        return 2;
    }
    int listener = atoi(arguments[1]), others = atoi(arguments[2]), ms = atoi(arguments[3]);
    int links[MOST], on = 1, events = epoll_create1(0);
    int linked = 0;
    check(events, "epoll_create1");
    for (int i = 4; i < count && linked < MOST; i++)
        links[linked++] = dial(atoi(arguments[i]));
    while (others-- > 0 && linked < MOST) {
        int link = accept(listener, NULL, NULL);
        check(link, "accept");
        links[linked++] = link;
    }
    int timer = timerfd_create(CLOCK_MONOTONIC, 0);
    check(timer, "timerfd_create");
    struct timespec every = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    /* Each process has ticks of its own. */
    long first = getpid() * 7919L % ms + 1;
    struct timespec begin = {.tv_sec = first / 1000, .tv_nsec = first % 1000 * 1000000L};
    struct itimerspec ticks = {.it_interval = every, .it_value = begin};
    check(timerfd_settime(timer, 0, &ticks, NULL), "timerfd_settime");
    struct epoll_event event = {.events = EPOLLIN, .data.fd = timer};
    check(epoll_ctl(events, EPOLL_CTL_ADD, timer, &event), "epoll_ctl");
    for (int i = 0; i < linked; i++) {
        check(setsockopt(links[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "setsockopt");
        event.data.fd = links[i];
        check(epoll_ctl(events, EPOLL_CTL_ADD, links[i], &event), "epoll_ctl");
    }
    puts("linked");
    fflush(stdout);
    static char record[RECORD], taken[32768];
    for (;;) {
        struct epoll_event ready[64];
        int found = epoll_wait(events, ready, 64, -1);
        check(found, "epoll_wait");
        for (int i = 0; i < found; i++) {
            uint64_t passed;
            if (ready[i].data.fd != timer) {
                if (read(ready[i].data.fd, taken, sizeof taken) <= 0)
                    return 0;
                continue;
            }
            check(read(timer, &passed, sizeof passed) < 0 ? -1 : 0, "read");
            for (int link = 0; link < linked; link++)
                if (send(links[link], record, RECORD, MSG_NOSIGNAL) < 0)
                    return 0;
        }
    }
}
