/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Behind emulated/cuda_runtime.h: fibers, their meetings, memory with fences. Only for tests: what goes wrong here
 * ends the program.
 */
#include "cuda_runtime.h"

#include <setjmp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

extern "C" {
#include "compute/cuda/cuda.h"
}
#include "compute/cuda/index.h"

enum { MOST_THREADS = 1024, STACK = 256 << 10, MOST_SHARED = 227 << 10 };

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
alignas(128) unsigned char dynamic_shared[MOST_SHARED];

enum state { READY, AT_BARRIER, AT_MEETING, ENDED };

struct fiber {
	enum state state;
	bool started;
	ucontext_t first;
	jmp_buf where;
	const char *what;
	void *brought;
	void (*combine)(void **lanes);
};

static struct fiber fibers[MOST_THREADS];
static char *stacks;
static jmp_buf scheduler;
static struct fiber *running;
static void (*body)(void *);
static void *body_context;

static void die(const char *text)
{
	fprintf(stderr, "emulated GPU: %s (block %u %u %u)\n", text, blockIdx.x, blockIdx.y, blockIdx.z);
	abort();
}

static void give_way(void)
{
	if (!_setjmp(running->where))
		_longjmp(scheduler, 1);
}

static void fiber_main(void)
{
	body(body_context);
	running->state = ENDED;
	_longjmp(scheduler, 1);
}

static void resume(unsigned i)
{
	running = &fibers[i];
	threadIdx = uint3{i, 0, 0};
	if (_setjmp(scheduler))
		return;
	if (running->started)
		_longjmp(running->where, 1);
	running->started = true;
	setcontext(&running->first);
}

void __syncthreads(void)
{
	running->state = AT_BARRIER;
	give_way();
}

void emulated_meet(const char *what, void *mine, void (*combine)(void **lanes))
{
	running->state = AT_MEETING;
	running->what = what;
	running->brought = mine;
	running->combine = combine;
	give_way();
}

static bool release_warp(unsigned first, unsigned threads)
{
	void *lanes[32];

	for (unsigned i = 0; i < 32; i++) {
		if (first + i >= threads)
			die("a warp that is not whole meets");
		if (fibers[first + i].state != AT_MEETING)
			return false;
		if (strcmp(fibers[first + i].what, fibers[first].what) != 0)
			die("lanes of a warp meet for different things");
		lanes[i] = fibers[first + i].brought;
	}
	fibers[first].combine(lanes);
	for (unsigned i = 0; i < 32; i++)
		fibers[first + i].state = READY;
	return true;
}

/* Run a warp until it waits at a barrier or has ended, so that warps are as far apart as they can be. */
static void run_warp(unsigned first, unsigned threads, bool backwards)
{
	unsigned last = first + 32 < threads ? first + 32 : threads;

	do {
		for (unsigned i = first; i < last; i++) {
			unsigned turn = backwards ? last - 1 - (i - first) : i;

			while (fibers[turn].state == READY)
				resume(turn);
		}
	} while (fibers[first].state == AT_MEETING && release_warp(first, threads));
}

/* All that have not ended wait at the barrier: let them go. */
static void release_barrier(unsigned threads)
{
	for (unsigned i = 0; i < threads; i++)
		if (fibers[i].state == AT_MEETING)
			die("lanes of a warp wait for others that have gone on");
	for (unsigned i = 0; i < threads; i++)
		if (fibers[i].state == AT_BARRIER)
			fibers[i].state = READY;
}

static void run_block(unsigned threads)
{
	const char *order = getenv("AQM_EMULATE");
	bool backwards = order && strcmp(order, "backwards") == 0;
	unsigned ended;

	for (unsigned i = 0; i < threads; i++) {
		fibers[i].state = READY;
		fibers[i].started = false;
		getcontext(&fibers[i].first);
		fibers[i].first.uc_stack.ss_sp = stacks + (size_t)i * STACK;
		fibers[i].first.uc_stack.ss_size = STACK;
		fibers[i].first.uc_link = NULL;
		makecontext(&fibers[i].first, fiber_main, 0);
	}
	do {
		unsigned warps = (threads + 31) / 32;

		ended = 0;
		for (unsigned i = 0; i < warps; i++)
			run_warp(32 * (backwards ? warps - 1 - i : i), threads, backwards);
		release_barrier(threads);
		for (unsigned i = 0; i < threads; i++)
			ended += fibers[i].state == ENDED;
	} while (ended < threads);
}

static void run(dim3 grid, dim3 block, size_t shared, void (*thread)(void *), void *context)
{
	unsigned threads = block.x * block.y * block.z;

	if (threads > MOST_THREADS || shared > MOST_SHARED || grid.y > 65535 || grid.z > 65535)
		die("too large a launch");
	if (!stacks)
		stacks = (char *)mmap(NULL, (size_t)MOST_THREADS * STACK, PROT_READ | PROT_WRITE,
		                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (stacks == MAP_FAILED)
		die("no memory for stacks");
	body = thread;
	body_context = context;
	blockDim = block;
	gridDim = grid;
	for (unsigned z = 0; z < grid.z; z++)
		for (unsigned y = 0; y < grid.y; y++)
			for (unsigned x = 0; x < grid.x; x++) {
				blockIdx = uint3{x, y, z};
				memset(dynamic_shared, 0xff, shared);
				run_block(threads);
			}
}

/* ---- graphs ---- */

struct node {
	cudaLaunchConfig_t config;
	void (*thread)(void *);
	void *context;
	struct node *next;
};

struct emulated_graph {
	struct node *first, **end;
};

static struct emulated_graph *capturing;

void emulated_not_captured(const char *what)
{
	if (capturing)
		die(what);
}

static uint64_t work_done; /* launches, copies */

void emulated_work(const char *what)
{
	emulated_not_captured(what);
	work_done++;
}

void emulated_launch(const cudaLaunchConfig_t &config, void (*thread)(void *), const void *context, size_t bytes)
{
	void *copy = malloc(bytes);

	memcpy(copy, context, bytes);
	if (capturing) {
		struct node *node = (struct node *)malloc(sizeof *node);

		*node = {config, thread, copy, NULL};
		*capturing->end = node;
		capturing->end = &node->next;
		return;
	}
	work_done++;
	run(config.gridDim, config.blockDim, config.dynamicSmemBytes, thread, copy);
	free(copy);
}

cudaError_t cudaStreamBeginCapture(cudaStream_t, int)
{
	emulated_not_captured("capture");
	capturing = (struct emulated_graph *)malloc(sizeof *capturing);
	*capturing = {NULL, &capturing->first};
	return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t *graph)
{
	*graph = capturing;
	capturing = NULL;
	return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, int)
{
	*out = graph;
	return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t)
{
	emulated_work("a graph in a graph");
	for (struct node *node = graph->first; node; node = node->next)
		run(node->config.gridDim, node->config.blockDim, node->config.dynamicSmemBytes, node->thread, node->context);
	return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph)
{
	for (struct node *node = graph->first, *next; node; node = next) {
		next = node->next;
		free(node->context);
		free(node);
	}
	free(graph);
	return cudaSuccess;
}

/* ---- memory ---- */

static size_t page(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

struct head {
	void *mapping;
	size_t bytes;
};

static size_t rounded(size_t bytes, size_t unit)
{
	return (bytes + unit - 1) / unit * unit;
}

/* The end lies as near before the fence as an alignment of 16 allows; the head of the mapping is in front. */
struct block {
	const char *memory;
	size_t bytes;
	struct block *next;
};

static struct block *blocks;

static void note_block(const char *memory, size_t bytes)
{
	struct block *block = (struct block *)malloc(sizeof *block);

	*block = {memory, bytes, blocks};
	blocks = block;
}

static void forget_block(const void *memory)
{
	struct block **at = &blocks, *block;

	while (*at && (*at)->memory != memory)
		at = &(*at)->next;
	block = *at;
	if (!block)
		die("cudaFree of something else");
	*at = block->next;
	free(block);
}

static bool is_memory(const void *memory, size_t bytes)
{
	const char *from = (const char *)memory;

	for (const struct block *b = blocks; b; b = b->next)
		if (from >= b->memory && from <= b->memory + b->bytes && bytes <= (size_t)(b->memory + b->bytes - from))
			return true;
	return false;
}

cudaError_t cudaMalloc(void **out, size_t bytes)
{
	emulated_not_captured("cudaMalloc");
	size_t body_bytes = rounded(rounded(bytes, 16) + sizeof(struct head) + 16, page()), all = body_bytes + page();
	char *mapping = (char *)mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mapping == MAP_FAILED || mprotect(mapping + body_bytes, page(), PROT_NONE) != 0)
		return cudaErrorMemoryAllocation;
	char *memory = mapping + body_bytes - rounded(bytes, 16);

	memset(memory, 0xff, rounded(bytes, 16));
	*(struct head *)mapping = {mapping, all};
	memcpy(memory - sizeof(struct head), mapping, sizeof(struct head));
	note_block(memory, bytes);
	*out = memory;
	return cudaSuccess;
}

cudaError_t cudaFree(void *memory)
{
	struct head head;

	emulated_not_captured("cudaFree");
	if (!memory)
		return cudaSuccess;
	memcpy(&head, (char *)memory - sizeof head, sizeof head);
	forget_block(memory);
	munmap(head.mapping, head.bytes);
	return cudaSuccess;
}

const char *cudaGetErrorString(cudaError_t code)
{
	return code == cudaSuccess ? "no error" : "emulated error";
}

/* ---- streams ---- */

struct emulated_queued {
	bool (*work)(void *context);
	void *context;
	struct emulated_queued *next;
};

struct emulated_event {
	struct emulated_stream *stream;
	uint64_t behind;
};

static void queue_work(struct emulated_stream *stream, bool (*work)(void *), void *context)
{
	struct emulated_queued **end = &stream->first;

	while (*end)
		end = &(*end)->next;
	*end = (struct emulated_queued *)malloc(sizeof **end);
	**end = {work, context, NULL};
}

static bool is_behind_all(const struct emulated_stream *stream)
{
	return stream->behind == work_done;
}

/* Whether nothing is left. */
static bool advance(struct emulated_stream *stream)
{
	while (stream->first && stream->first->work(stream->first->context)) {
		struct emulated_queued *done = stream->first;

		stream->first = done->next;
		free(done);
	}
	return !stream->first;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned)
{
	*out = (struct emulated_stream *)malloc(sizeof **out);
	**out = {queue_work, is_behind_all, is_memory, NULL, 0};
	return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
	if (stream->first)
		die("a stream is destroyed that has something to do");
	free(stream);
	return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
	emulated_not_captured("query");
	return advance(stream) ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
	emulated_not_captured("synchronize");
	while (!advance(stream))
		usleep(100);
	return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned)
{
	*out = (struct emulated_event *)calloc(1, sizeof **out);
	return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
	free(event);
	return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
	emulated_not_captured("record");
	*event = {stream, work_done};
	return cudaSuccess;
}

/* Another stream's queue is gone through at once, for who waits for it may be given work that runs at once. */
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
	emulated_not_captured("wait");
	if (!event->stream)
		return cudaSuccess;
	if (event->stream != stream)
		cudaStreamSynchronize(event->stream);
	stream->behind = event->behind > stream->behind ? event->behind : stream->behind;
	return cudaSuccess;
}

/* ---- no cublasLt ---- */

int aqm_lt_open(struct aqm_lt **out)
{
	*out = NULL;
	return AQM_OK;
}

void aqm_lt_close(struct aqm_lt *) {}

size_t aqm_lt_workspace(void)
{
	return 0;
}

struct product {
	float alpha, beta;
	struct aqm_mat a, b, c, bias;
	bool transpose_a, transpose_b;
};

static float element(struct aqm_mat m, int64_t row, int64_t col)
{
	int64_t i = row * m.ld + col;

	return m.dtype == AQM_BF16 ? aqm_float_of_bfloat(((const uint16_t *)m.data)[i]) : ((const float *)m.data)[i];
}

static void multiply(void *context)
{
	const struct product *p = (const struct product *)context;
	int64_t rows = p->c.rows, cols = p->c.cols, inner = p->transpose_a ? p->a.rows : p->a.cols;
	float *b = (float *)malloc((size_t)(inner * cols) * sizeof *b), *sums = (float *)malloc((size_t)cols * sizeof *sums);

	for (int64_t k = 0; k < inner; k++)
		for (int64_t j = 0; j < cols; j++)
			b[k * cols + j] = p->transpose_b ? element(p->b, j, k) : element(p->b, k, j);
	for (int64_t i = 0; i < rows; i++) {
		for (int64_t j = 0; j < cols; j++)
			sums[j] = 0.0f;
		for (int64_t k = 0; k < inner; k++) {
			float a = p->transpose_a ? element(p->a, k, i) : element(p->a, i, k);

			for (int64_t j = 0; j < cols; j++)
				sums[j] += a * b[k * cols + j];
		}
		for (int64_t j = 0; j < cols; j++) {
			float x = p->alpha * sums[j] + (p->beta == 0.0f ? 0.0f : p->beta * element(p->c, i, j)) +
			          (p->bias.data ? element(p->bias, 0, j) : 0.0f);

			if (p->c.dtype == AQM_BF16)
				((uint16_t *)p->c.data)[i * p->c.ld + j] = aqm_bfloat_of(x);
			else
				((float *)p->c.data)[i * p->c.ld + j] = x;
		}
	}
	free(b);
	free(sums);
}

/* With AQM_EMULATE_PRODUCTS=direct a product is a loop, for tests that take many; else it is left to the plain kernel. */
bool aqm_lt_gemm(aqm_device *, struct aqm_lt *, float alpha, struct aqm_mat a, bool transpose_a, struct aqm_mat b,
                 bool transpose_b, float beta, struct aqm_mat c, struct aqm_mat bias)
{
	static const char *products = getenv("AQM_EMULATE_PRODUCTS");
	const struct product p = {alpha, beta, a, b, c, bias, transpose_a, transpose_b};
	cudaLaunchConfig_t one = {};

	if (!products || strcmp(products, "direct") != 0)
		return false;
	one.gridDim = one.blockDim = dim3(1);
	emulated_launch(one, multiply, &p, sizeof p);
	return true;
}
