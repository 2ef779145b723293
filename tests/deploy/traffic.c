/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Traffic for tests between network namespaces.
 *
 *     traffic tcp-receive PORT                          one connection: "bytes N"; status 1 if they are not what was sent
 *     traffic tcp-send ADDRESS PORT BYTES
 *     traffic udp-receive PORT                          until a datagram of one byte: "received N missing N ce N bytes N"
 *     traffic udp-send ADDRESS PORT TOS RATE COUNT SIZE RATE datagrams a second
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 1 << 16, DATAGRAM_MAX = 9000, SECONDS_MAX = 30 };

static int fail(const char *what)
{
	perror(what);
	return 1;
}

static struct sockaddr_in address_of(const char *address, const char *port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};

	if (address)
		inet_pton(AF_INET, address, &to.sin_addr);
	return to;
}

static int bound(int type, const char *port)
{
	struct sockaddr_in here = address_of(NULL, port);
	int s = socket(AF_INET, type, 0), on = 1;
	struct timeval patience = {.tv_sec = SECONDS_MAX};

	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	return bind(s, (struct sockaddr *)&here, sizeof here) == 0 ? s : -1;
}

/* Byte `place` of every stream. */
static unsigned char byte_at(uint64_t place)
{
	return (unsigned char)((place * 2654435761u) >> 13);
}

static int tcp_receive(const char *port)
{
	static unsigned char block[BLOCK];
	int listener = bound(SOCK_STREAM, port);
	uint64_t place = 0;
	ssize_t n;

	if (listener < 0 || listen(listener, 1) != 0)
		return fail("listen");
	int s = accept(listener, NULL, NULL);
	if (s < 0)
		return fail("accept");
	while ((n = read(s, block, sizeof block)) > 0)
		for (ssize_t i = 0; i < n; i++)
			if (block[i] != byte_at(place++)) {
				fprintf(stderr, "byte %llu is wrong\n", (unsigned long long)place - 1);
				return 1;
			}
	printf("bytes %llu\n", (unsigned long long)place);
	return n < 0;
}

static int tcp_send(const char *address, const char *port, uint64_t bytes)
{
	static unsigned char block[BLOCK];
	struct sockaddr_in to = address_of(address, port);
	struct timeval patience = {.tv_sec = SECONDS_MAX};
	int s = socket(AF_INET, SOCK_STREAM, 0);

	setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	if (connect(s, (struct sockaddr *)&to, sizeof to) != 0)
		return fail("connect");
	for (uint64_t place = 0; place < bytes;) {
		size_t n = bytes - place < BLOCK ? (size_t)(bytes - place) : BLOCK;

		for (size_t i = 0; i < n; i++)
			block[i] = byte_at(place + i);
		ssize_t sent = write(s, block, n);
		if (sent <= 0)
			return fail("write");
		place += (uint64_t)sent;
	}
	return close(s) != 0;
}

static int udp_receive(const char *port)
{
	int s = bound(SOCK_DGRAM, port), on = 1, room = 1 << 22;
	uint64_t received = 0, ce = 0, total = 0, bytes = 0;
	unsigned char data[DATAGRAM_MAX], control[64];

	if (s < 0)
		return fail("bind");
	setsockopt(s, IPPROTO_IP, IP_RECVTOS, &on, sizeof on);
	setsockopt(s, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
	for (;;) {
		struct iovec piece = {data, sizeof data};
		struct msghdr message = {
			.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
		ssize_t n = recvmsg(s, &message, 0);

		if (n < 0)
			return fail("recvmsg");
		if (n == 1)
			break;
		received++;
		bytes += (uint64_t)n;
		memcpy(&total, data, sizeof total); /* every datagram says how many there are */
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
			if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS)
				ce += (*CMSG_DATA(c) & 3) == 3;
	}
	printf("received %llu missing %llu ce %llu bytes %llu\n", (unsigned long long)received,
	       (unsigned long long)(total - received), (unsigned long long)ce, (unsigned long long)bytes);
	return 0;
}

static int udp_send(const char *address, const char *port, int tos, double rate, uint64_t count, size_t size)
{
	struct sockaddr_in to = address_of(address, port);
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	unsigned char data[DATAGRAM_MAX] = {0};
	struct timespec due;

	memcpy(data, &count, sizeof count);
	setsockopt(s, IPPROTO_IP, IP_TOS, &tos, sizeof tos);
	clock_gettime(CLOCK_MONOTONIC, &due);
	for (uint64_t i = 0; i < count; i++) {
		sendto(s, data, size, 0, (struct sockaddr *)&to, sizeof to); /* what the queue drops is an error here */
		struct timespec now;

		clock_gettime(CLOCK_MONOTONIC, &now); /* a late sender sends no bursts to make up for it */
		if (now.tv_sec > due.tv_sec || (now.tv_sec == due.tv_sec && now.tv_nsec > due.tv_nsec))
			due = now;
		due.tv_nsec += (long)(1e9 / rate);
		for (; due.tv_nsec >= 1000000000; due.tv_nsec -= 1000000000)
			due.tv_sec++;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
	}
	tos = 0;
	setsockopt(s, IPPROTO_IP, IP_TOS, &tos, sizeof tos);
	connect(s, (struct sockaddr *)&to, sizeof to);
	for (int i = 0; i < 50; i++) { /* the end, when the queue has drained, until nobody listens */
		usleep(100000);
		if (send(s, data, 1, 0) < 0 && errno == ECONNREFUSED)
			break;
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "tcp-receive") == 0)
		return tcp_receive(argv[2]);
	if (argc == 5 && strcmp(argv[1], "tcp-send") == 0)
		return tcp_send(argv[2], argv[3], strtoull(argv[4], NULL, 10));
	if (argc == 3 && strcmp(argv[1], "udp-receive") == 0)
		return udp_receive(argv[2]);
	if (argc == 8 && strcmp(argv[1], "udp-send") == 0)
		return udp_send(argv[2], argv[3], atoi(argv[4]), atof(argv[5]), strtoull(argv[6], NULL, 10),
		                (size_t)atoi(argv[7]));
	fprintf(stderr, "usage: see the head of traffic.c\n");
	return 2;
}
