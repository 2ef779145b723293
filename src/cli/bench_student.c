/* SPDX-License-Identifier: BSD-2-Clause
 *
 * aqmtrain bench decide --student: the student's C header, compiled with general registers only and loaded, beside the rule of DualPI2.
 *
 * The machine interrupts whoever runs. A decision that took over a microsecond is taken again, three times, from the same state: what was
 * the student's doing is slow again, what was not is told as an interruption. How often the machine interrupts a loop that does nothing
 * but read the clock is measured too.
 */
#include "cli/bench_student.h"

#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "aqmtrain/export.h"
#include "base/file.h"
#include "base/log.h"
#include "base/random.h"
#include "base/size.h"

extern char **environ;

enum { RECORDS = 4096, BATCH = 1000, SLOW_NS = 1000, HISTOGRAM_NS = 100000, AGAIN = 3 };

typedef unsigned (*decide_function)(void *state, const void *input);

struct subject {
	decide_function decide;
	void *library;         /* of dlopen */
	size_t state_bytes;
	void *state, *saved;   /* owned */
	const void *inputs;    /* RECORDS of `stride` bytes */
	size_t stride;
};

/* ---- compiling ---- */

static const char wrapper[] =
	"#include \"student.h\"\n"
	"unsigned aqm_bench_decide(void *state, const void *input);\n"
	"extern const unsigned long aqm_bench_state_bytes;\n"
	"unsigned aqm_bench_decide(void *state, const void *input)\n"
	"{\n"
	"#ifdef AQM_STUDENT_PACKET\n"
	"\treturn (unsigned)aqm_student_decide(state, input);\n"
	"#else\n"
	"\treturn aqm_student_update(state, input, 1u << 24);\n"
	"#endif\n"
	"}\n"
	"const unsigned long aqm_bench_state_bytes = sizeof(struct aqm_student_state);\n";

static int spawn_compiler(const char *source, const char *library)
{
	const char *compiler = getenv("CC") && *getenv("CC") ? getenv("CC") : "cc";
	char *arguments[] = {(char *)(uintptr_t)compiler, (char *)(uintptr_t)"-O2", (char *)(uintptr_t)"-w",
#if defined(__x86_64__) || defined(__aarch64__)
	                     (char *)(uintptr_t)"-mgeneral-regs-only",
#endif
	                     (char *)(uintptr_t)"-ffreestanding", (char *)(uintptr_t)"-nostdlib", (char *)(uintptr_t)"-fPIC",
	                     (char *)(uintptr_t)"-shared", (char *)(uintptr_t)"-o", (char *)(uintptr_t)library, (char *)(uintptr_t)source, NULL};
	pid_t child;
	int status;

	if (posix_spawnp(&child, compiler, NULL, NULL, arguments, environ) != 0)
		return aqm_error_set(AQM_ENOTFOUND, "no C compiler '%s'", compiler);
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return aqm_error_errno(AQM_ERUN, "cannot wait for '%s'", compiler);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? AQM_OK : aqm_error_set(AQM_ERUN, "'%s' cannot compile the header", compiler);
}

/* Compile the student's header in a scratch folder, load it, and remove the folder. */
static int compile(struct subject *subject, const aqm_student *student)
{
	const char *temporary = getenv("TMPDIR") && *getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
	char *folder = aqm_strprintf("%s/aqmtrain-XXXXXX", temporary);

	if (!folder || !mkdtemp(folder)) {
		free(folder);
		return aqm_error_errno(AQM_ERUN, "cannot make a folder in '%s'", temporary);
	}
	char *header = aqm_path_join(folder, "student.h"), *source = aqm_path_join(folder, "student.c"), *library = aqm_path_join(folder, "student.so");
	int code = header && source && library ? aqm_export_c_header(student, header) : AQM_ERUN;

	if (code == AQM_OK)
		code = aqm_file_write(source, wrapper, sizeof wrapper - 1);
	if (code == AQM_OK)
		code = spawn_compiler(source, library);
	if (code == AQM_OK && !(subject->library = dlopen(library, RTLD_NOW | RTLD_LOCAL)))
		code = aqm_error_set(AQM_ERUN, "cannot load the compiled header: %s", dlerror());
	if (code == AQM_OK) {
		const unsigned long *bytes = dlsym(subject->library, "aqm_bench_state_bytes");
		void *function = dlsym(subject->library, "aqm_bench_decide");

		memcpy(&subject->decide, &function, sizeof function);
		subject->state_bytes = bytes ? *bytes : 0;
		if (!function || !bytes)
			code = aqm_error_set(AQM_ERUN, "the compiled header has no decisions");
	}
	aqm_remove_tree(folder);
	free(header);
	free(source);
	free(library);
	free(folder);
	return code;
}

/* ---- subjects ---- */

/* Records of every magnitude: 2^u, u even over the field's bits. */
static void *make_records(size_t *stride)
{
	struct aqm_record *records = aqm_calloc_array(RECORDS, sizeof *records);
	struct aqm_rng rng;

	*stride = sizeof *records;
	aqm_rng_init(&rng, 1, AQM_STREAM_TEST, 0);
	for (size_t i = 0; records && i < RECORDS; i++) {
		struct aqm_record *r = &records[i];

		r->queue_type = aqm_rng_u32(&rng) & 1;
		r->qdelay_ref = r->tupdate = 15000;
		r->max_burst = 150000;
		r->burst_allowance = aqm_rng_u32(&rng) & 1 ? 0 : aqm_rng_u32(&rng) % 150000;
		r->drop_prob = aqm_rng_u32(&rng) >> (1 + aqm_rng_u32(&rng) % 31);
		r->current_qdelay = aqm_rng_u32(&rng) >> (12 + aqm_rng_u32(&rng) % 20);
		r->qdelay_old = aqm_rng_u32(&rng) >> (12 + aqm_rng_u32(&rng) % 20);
		r->accu_prob = ((uint64_t)r->drop_prob) * (aqm_rng_u32(&rng) & 31);
		r->tot_pkts = i;
		r->tot_bytes = 1500 * i;
		r->length = aqm_rng_u32(&rng) & 255;
		r->len_bytes = 1500 * r->length;
		r->drops = (uint32_t)(i / 50);
		r->pkt_len = aqm_rng_u32(&rng) & 3 ? 1500 : 52;
	}
	return records;
}

static void *make_intervals(size_t *stride)
{
	*stride = AQM_STUDENT_INPUTS_MAX * sizeof(uint64_t);
	uint64_t *x = aqm_calloc_array(RECORDS, *stride);
	struct aqm_rng rng;

	aqm_rng_init(&rng, 1, AQM_STREAM_TEST, 1);
	for (size_t i = 0; x && i < RECORDS * AQM_STUDENT_INPUTS_MAX; i++)
		x[i] = aqm_rng_u32(&rng) >> aqm_rng_u32(&rng) % 32;
	return x;
}

static void close_subject(struct subject *subject)
{
	if (subject->library)
		dlclose(subject->library);
	free(subject->state);
	free(subject->saved);
}

static int make_states(struct subject *subject)
{
	subject->state = aqm_calloc_array(1, subject->state_bytes);
	subject->saved = aqm_calloc_array(1, subject->state_bytes);
	return subject->state && subject->saved ? AQM_OK : AQM_ERUN;
}

/* The rule of DualPI2 as RFC 9332, appendix A, has it, in a kernel's integers: a step in the L queue, else the coupled probability; the
 * square of p' in the classic one. */
struct rule_state {
	uint64_t random;
};

static uint32_t roll(struct rule_state *state)
{
	state->random ^= state->random << 13;
	state->random ^= state->random >> 7;
	state->random ^= state->random << 17;
	return (uint32_t)(state->random >> 33); /* 31 bits, as p' has */
}

static __attribute__((noinline)) unsigned dualpi2_rule(void *state, const void *input)
{
	const struct aqm_record *r = input;
	struct rule_state *s = state;

	s->random |= 1;
	if (r->len_bytes < 2 * 1514)
		return AQM_ENQUEUE;
	if (r->queue_type)
		return r->current_qdelay > 1000 || roll(s) < (r->drop_prob < 1u << 30 ? 2 * r->drop_prob : UINT32_MAX) ? AQM_MARK : AQM_ENQUEUE;
	if (roll(s) < r->drop_prob && roll(s) < r->drop_prob)
		return r->flags & 1 ? AQM_MARK : AQM_DROP;
	return AQM_ENQUEUE;
}

/* ---- measuring ---- */

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static volatile unsigned sink; /* so that decisions are taken */

/* Nanoseconds a decision: the median of batches. */
static double median_of_batches(struct subject *s, size_t batches)
{
	double *times = aqm_malloc_array(batches, sizeof *times), median;
	const char *inputs = s->inputs;
	size_t at = 0;

	if (!times)
		return (double)NAN;
	for (size_t b = 0; b < batches; b++) {
		uint64_t began = now_ns();
		unsigned sum = 0;

		for (size_t i = 0; i < BATCH; i++) {
			sum += s->decide(s->state, inputs + at * s->stride);
			at = (at + 1) % RECORDS;
		}
		sink = sum;
		times[b] = (double)(now_ns() - began) / BATCH;
	}
	qsort(times, batches, sizeof *times, compare);
	median = times[batches / 2];
	free(times);
	return median;
}

struct tail {
	uint64_t slowest, slowest_again; /* ns; of those over SLOW_NS, the least of several times */
	uint64_t over_2us, over_2us_again;
	double p9999;
};

static unsigned nothing(void *state, const void *input)
{
	(void)state;
	return *(const unsigned *)input;
}

/* Take a slow decision again from where it began; the least time. */
static uint64_t again(struct subject *s, const void *input)
{
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < AGAIN; i++) {
		memcpy(s->state, s->saved, s->state_bytes);
		uint64_t began = now_ns();
		sink = s->decide(s->state, input);
		uint64_t took = now_ns() - began;

		least = took < least ? took : least;
	}
	return least;
}

/* Every decision timed on its own, with the clock's own time in it. */
static int measure_tail(struct subject *s, size_t decisions, struct tail *tail)
{
	uint32_t *histogram = aqm_calloc_array(HISTOGRAM_NS + 1, sizeof *histogram);
	size_t at = 0, seen = 0;

	*tail = (struct tail){0};
	if (!histogram)
		return AQM_ERUN;
	for (size_t i = 0; i < decisions; i++) {
		const void *input = (const char *)s->inputs + at * s->stride;

		memcpy(s->saved, s->state, s->state_bytes);
		uint64_t began = now_ns();
		sink = s->decide(s->state, input);
		uint64_t took = now_ns() - began;

		at = (at + 1) % RECORDS;
		histogram[took < HISTOGRAM_NS ? took : HISTOGRAM_NS]++;
		tail->slowest = took > tail->slowest ? took : tail->slowest;
		tail->over_2us += took > 2000;
		if (took > SLOW_NS) {
			uint64_t least = again(s, input);

			tail->slowest_again = least > tail->slowest_again ? least : tail->slowest_again;
			tail->over_2us_again += least > 2000;
		} else if (took > tail->slowest_again) {
			tail->slowest_again = took;
		}
	}
	for (size_t ns = 0; ns <= HISTOGRAM_NS; ns++) {
		seen += histogram[ns];
		if ((double)seen >= 0.9999 * (double)decisions) {
			tail->p9999 = (double)ns;
			break;
		}
	}
	free(histogram);
	return AQM_OK;
}

double aqm_bench_student_quick(const aqm_student *student)
{
	struct subject subject = {0};
	bool packets = aqm_student_control(student) == AQM_CONTROL_PACKET;
	void *inputs = packets ? make_records(&subject.stride) : make_intervals(&subject.stride);
	double ns = (double)NAN;

	subject.inputs = inputs;
	if (inputs && compile(&subject, student) == AQM_OK && make_states(&subject) == AQM_OK)
		ns = median_of_batches(&subject, 301);
	close_subject(&subject);
	free(inputs);
	return ns;
}

/* The library's own evaluation, for where there is no compiler and for who embeds it. */
struct library_state {
	const aqm_student *student;
	struct aqm_student_state state;
};

static unsigned decide_in_library(void *state, const void *input)
{
	struct library_state *s = state;

	if (aqm_student_control(s->student) == AQM_CONTROL_UPDATE)
		return aqm_student_update(s->student, &s->state, input, 1u << 24);
	return aqm_student_decide(s->student, &s->state, input, NULL);
}

static int add_tail(struct aqm_bench *bench, struct subject *subject, size_t decisions)
{
	struct tail tail;
	int code = measure_tail(subject, decisions, &tail);

	if (code == AQM_OK)
		code = aqm_bench_add(bench, "99.99 % of decisions within", tail.p9999, "ns", 0, NULL);
	if (code == AQM_OK)
		code = aqm_bench_add(bench, "slowest decision, taken again", (double)tail.slowest_again * 1e-3, "us", 2, "allowed");
	if (code == AQM_OK)
		code = aqm_bench_add(bench, "decisions over 2 us, taken again", (double)tail.over_2us_again, "of all", 0, NULL);
	if (code == AQM_OK)
		code = aqm_bench_add(bench, "slowest, with interruptions", (double)tail.slowest * 1e-3, "us", 0, NULL);
	if (code == AQM_OK)
		code = aqm_bench_add(bench, "over 2 us, with interruptions", (double)tail.over_2us, "of all", 0, NULL);
	return code;
}

/* The same loop around nothing: what the machine does to it. */
static int add_machine(struct aqm_bench *bench, const struct subject *like, size_t decisions)
{
	struct subject idle = *like;
	struct tail tail;

	idle.decide = nothing;
	int code = measure_tail(&idle, decisions, &tail);
	if (code == AQM_OK)
		code = aqm_bench_add(bench, "the clock alone: slowest", (double)tail.slowest * 1e-3, "us", 0, NULL);
	return code == AQM_OK ? aqm_bench_add(bench, "the clock alone: over 2 us", (double)tail.over_2us, "of all", 0, NULL) : code;
}

static int measure_rule(const struct subject *like, const void *records, size_t stride, size_t batches, double *ns)
{
	struct subject rule = *like;

	rule.library = NULL;
	rule.decide = dualpi2_rule;
	rule.state_bytes = sizeof(struct rule_state);
	rule.inputs = records;
	rule.stride = stride;
	int code = make_states(&rule);
	if (code == AQM_OK)
		*ns = median_of_batches(&rule, batches);
	close_subject(&rule);
	return code;
}

static int measure_library(struct subject *like, const aqm_student *student, size_t batches, double *ns)
{
	struct subject library = *like;

	library.library = NULL;
	library.decide = decide_in_library;
	library.state_bytes = sizeof(struct library_state);
	int code = make_states(&library);
	if (code == AQM_OK) {
		((struct library_state *)library.state)->student = student;
		*ns = median_of_batches(&library, batches);
	}
	close_subject(&library);
	return code;
}

static int measure_all(struct aqm_bench *bench, const aqm_student *student, struct subject *subject)
{
	size_t decisions = bench->quick ? 20000 : 10000000, batches = decisions / BATCH, stride;
	void *records = make_records(&stride);
	double rule, library, ns;
	int code = records ? measure_rule(subject, records, stride, batches, &rule) : AQM_ERUN;

	if (code == AQM_OK)
		code = measure_library(subject, student, batches / 10, &library);
	free(records);
	if (code != AQM_OK)
		return code;
	if (compile(subject, student) == AQM_OK) {
		if ((code = make_states(subject)) != AQM_OK)
			return code;
		ns = median_of_batches(subject, batches);
		code = aqm_bench_add(bench, "decision, the C header compiled", ns, "ns", rule, "DualPI2's own rule");
		if (code == AQM_OK)
			code = add_tail(bench, subject, decisions);
		if (code == AQM_OK)
			code = add_machine(bench, subject, decisions);
	} else {
		aqm_log_warning("%s: only the library is measured", aqm_error_message());
	}
	if (code == AQM_OK)
		code = aqm_bench_add(bench, "decision in the library", library, "ns", rule, "DualPI2's own rule");
	if (code == AQM_OK)
		code = aqm_bench_add(bench, "DualPI2's own rule", rule, "ns", 0, NULL);
	return code == AQM_OK ? aqm_bench_add(bench, "tables of the student", (double)aqm_student_bytes(student) / 1024, "KiB", 16, "allowed") : code;
}

int aqm_bench_student(struct aqm_bench *bench)
{
	struct subject subject = {0};
	aqm_student *student = NULL;
	void *inputs = NULL;
	int code = aqm_student_load(&student, bench->student);

	if (code == AQM_OK) {
		inputs = aqm_student_control(student) == AQM_CONTROL_PACKET ? make_records(&subject.stride) : make_intervals(&subject.stride);
		subject.inputs = inputs;
		code = inputs ? measure_all(bench, student, &subject) : AQM_ERUN;
	}
	close_subject(&subject);
	free(inputs);
	aqm_student_free(student);
	return code;
}
