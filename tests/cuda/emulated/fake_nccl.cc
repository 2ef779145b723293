/* SPDX-License-Identifier: BSD-2-Clause
 *
 * In place of NCCL, for the emulated GPU: sums over the processes of a host through a file in memory. It is stricter
 * than NCCL. What the documented contract forbids ends the program with a line, and so does
 *
 *  - a sum of memory that is not the device's, or that is not behind everything the device was given before,
 *  - touching that memory before the sum is there: until somebody waits for it, it is full of one NaN,
 *  - ranks whose sums are not the same ones in the same order,
 *  - a group that nobody leaves, or that not all close.
 *
 * AQM_FAKE_NCCL says what goes wrong: "id": no name can be made; "init": no group; "init:RANK": no group for one rank,
 * though the others are in it; "async:N": the N-th sum never ends.
 */
#include <atomic>
#include <fcntl.h>
#include <math.h>
#include <nccl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { RANKS = 8, CHUNK = 1 << 14, LIVE = 0x6e63636c, GONE = 0x676f6e65, PATIENCE = 20 };
static const uint32_t poison = 0x7fc0deadu;
static const char magic[8] = "aqmfake";

struct call {
	uint64_t number, count;
	int type, op;
};

/* In the file. */
struct group {
	std::atomic<int> size, joined, failed;
	std::atomic<int> taken[RANKS];
	std::atomic<unsigned> arrived, round;
	struct call calls[RANKS];
	float values[RANKS][CHUNK];
};

struct ncclComm {
	int state, rank, size;
	struct group *group;
	uint64_t calls, under_way;
	bool aborted;
};

/* One sum. */
struct sum {
	struct ncclComm *comm;
	struct call call;
	float *values, *brought; /* the latter is owned */
};

static int groups_joined;
static char name_made[64];

static void die(const char *what)
{
	fprintf(stderr, "fake NCCL: %s\n", what);
	abort();
}

static bool wrong(const char *what)
{
	const char *asked = getenv("AQM_FAKE_NCCL");

	return asked && strcmp(asked, what) == 0;
}

static bool wrong_at(const char *what, unsigned long number)
{
	char text[32];

	snprintf(text, sizeof text, "%s:%lu", what, number);
	return wrong(text);
}

/* All ranks of the group; false when one of them has failed, or does not come. */
static bool meet(struct group *g)
{
	const struct timespec pause = {0, 50000};
	unsigned round = g->round;
	time_t began = time(NULL);

	if (++g->arrived == (unsigned)g->size) {
		g->arrived = 0;
		g->round++;
	}
	while (g->round == round && !g->failed && time(NULL) - began < PATIENCE)
		nanosleep(&pause, NULL);
	if (g->round == round)
		g->failed = 1;
	return g->round != round;
}

/* ---- groups ---- */

__attribute__((destructor)) static void check_left(void)
{
	if (*name_made)
		unlink(name_made);
	if (groups_joined)
		die("a group was not left");
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
	static int made;

	if (wrong("id"))
		return ncclSystemError;
	if (*name_made)
		unlink(name_made);
	snprintf(name_made, sizeof name_made, "/dev/shm/aqm-fake-nccl-%d-%d", (int)getpid(), made++);
	int file = open(name_made, O_RDWR | O_CREAT | O_EXCL, 0600);

	if (file < 0 || ftruncate(file, sizeof(struct group)) != 0)
		return ncclSystemError;
	close(file);
	memset(id->internal, 0x5a, sizeof id->internal);
	memcpy(id->internal, magic, sizeof magic);
	strcpy(id->internal + sizeof magic, name_made);
	return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t *out, int ranks, ncclUniqueId id, int rank)
{
	*out = (ncclComm_t)(uintptr_t)1; /* whatever it is after a failure, it must not be used */
	if (memcmp(id.internal, magic, sizeof magic) != 0 || id.internal[sizeof id.internal - 1] != 0x5a)
		die("the name of the group is not the one that was made");
	if (ranks < 1 || ranks > RANKS || rank < 0 || rank >= ranks)
		die("a rank that is none");
	int file = open(id.internal + sizeof magic, O_RDWR);
	if (file < 0)
		return ncclSystemError;
	struct group *g = (struct group *)mmap(NULL, sizeof *g, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

	close(file);
	if (g == MAP_FAILED)
		return ncclSystemError;
	if (g->taken[rank].exchange(1))
		die("a rank twice, or a name used again");
	int size = 0;
	if (!g->size.compare_exchange_strong(size, ranks) && size != ranks)
		die("ranks do not agree how many they are");
	bool met = meet(g);
	if (met && rank == 0)
		unlink(id.internal + sizeof magic); /* all have it */
	if (!met || wrong("init") || wrong_at("init", (unsigned long)rank))
		return wrong("init") ? ncclInvalidUsage : ncclSystemError;
	*out = (struct ncclComm *)calloc(1, sizeof **out);
	(*out)->state = LIVE;
	(*out)->rank = rank;
	(*out)->size = ranks;
	(*out)->group = g;
	groups_joined++;
	return ncclSuccess;
}

static void check_live(ncclComm_t comm)
{
	if (!comm || comm == (ncclComm_t)(uintptr_t)1 || comm->state != LIVE)
		die("a group that is none, or has been left");
}

/* Its memory stays, so that who uses it again is found out. */
static void leave(ncclComm_t comm)
{
	comm->state = GONE;
	groups_joined--;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm)
{
	check_live(comm);
	if (comm->under_way)
		die("a group is left before its sums are there");
	if (!meet(comm->group))
		die("a group is closed that others have left, or are not in");
	leave(comm);
	return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm)
{
	check_live(comm);
	comm->aborted = true;
	comm->group->failed = 1;
	leave(comm);
	return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error)
{
	check_live(comm);
	*error = comm->group->failed ? ncclRemoteError : ncclSuccess;
	return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t result)
{
	switch (result) {
	case ncclSuccess:
		return "no error";
	case ncclSystemError:
		return "unhandled system error";
	case ncclInvalidUsage:
		return "invalid usage";
	case ncclRemoteError:
		return "remote process exited or there was a network error";
	}
	return "unknown result code";
}

/* ---- sums ---- */

/* In the order of ranks, so that all have the same bits. False when another rank has failed. */
static bool sum_chunk(struct ncclComm *comm, const float *brought, float *values, size_t count)
{
	struct group *g = comm->group;

	memcpy(g->values[comm->rank], brought, count * sizeof *brought);
	if (!meet(g))
		return false;
	for (size_t i = 0; i < count; i++) {
		values[i] = g->values[0][i];
		for (int r = 1; r < comm->size; r++)
			values[i] += g->values[r][i];
	}
	return meet(g);
}

static void compare_calls(const struct sum *s)
{
	struct group *g = s->comm->group;

	g->calls[s->comm->rank] = s->call;
	if (!meet(g))
		return;
	for (int r = 0; r < s->comm->size; r++)
		if (memcmp(&g->calls[r], &s->call, sizeof s->call) != 0)
			die("ranks sum different things");
}

static bool work(void *context)
{
	struct sum *s = (struct sum *)context;
	struct ncclComm *comm = s->comm;

	if (!comm->aborted && wrong_at("async", s->call.number))
		comm->group->failed = 1;
	if (!comm->aborted && !comm->group->failed) {
		for (size_t i = 0; i < s->call.count; i++)
			if (memcmp(&s->values[i], &poison, sizeof poison) != 0)
				die("memory was touched before its sum was there");
		compare_calls(s);
		bool there = true;
		for (size_t at = 0; there && at < s->call.count; at += CHUNK)
			there = sum_chunk(comm, s->brought + at, s->values + at, s->call.count - at < CHUNK ? s->call.count - at : (size_t)CHUNK);
		if (!there)
			return false;
	} else if (!comm->aborted) {
		return false; /* for ever */
	}
	comm->under_way--;
	free(s->brought);
	free(s);
	return true;
}

ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm,
                           cudaStream_t stream)
{
	check_live(comm);
	if (type != ncclFloat32 || op != ncclSum || from != to)
		die("not a sum of floats in place");
	if (!stream)
		die("no stream");
	if (!stream->is_memory(to, count * sizeof(float)))
		die("a sum of what is not the device's memory");
	if (!stream->is_behind_all(stream))
		die("a sum that does not wait for what is summed");
	struct sum *s = (struct sum *)calloc(1, sizeof *s);

	s->comm = comm;
	s->call.number = ++comm->calls;
	s->call.count = count;
	s->call.type = type;
	s->call.op = op;
	s->values = (float *)to;
	s->brought = (float *)malloc(count * sizeof(float) + 1);
	memcpy(s->brought, to, count * sizeof(float));
	for (size_t i = 0; i < count; i++)
		memcpy(&s->values[i], &poison, sizeof poison);
	comm->under_way++;
	stream->queue(stream, work, s);
	return ncclSuccess;
}
