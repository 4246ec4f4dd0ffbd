// A GPU for machines without one: the functions of libcuda, NVRTC and cuBLAS that attnlab calls, on the
// processor. Kernels are compiled by g++. It is thousands of times slower than a GPU, and stricter: what is allocated
// starts as NaN, and a kernel that reads or writes behind its end ends the program, as do lanes of a warp that wait at
// different barriers.
//
// EMULATED_GPU says what is otherwise: `idle` runs no kernel and no product, which leaves the host's own work to
// be measured; `backwards` has the threads between two barriers take their turns in reverse.
#include <algorithm>
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <vector>

#include "kernel.h"

namespace {

using Address = unsigned long long;
enum Result { SUCCESS = 0, OUT_OF_MEMORY = 2, NOT_FOUND = 500 };

[[noreturn]] void fail(const std::string &what) {
    fprintf(stderr, "emulated GPU: %s\n", what.c_str());
    abort();
}

bool asked_to(const char *mode) {
    const char *modes = getenv("EMULATED_GPU");
    return modes && strstr(modes, mode);
}
const bool idle = asked_to("idle"), backwards = asked_to("backwards");

// Threads of a block.

struct Coroutine {
    static constexpr size_t STACK = 128 << 10;
    enum { READY, AT_WARP, AT_BLOCK, DONE } state;
    Lane lane;
    jmp_buf here;
    ucontext_t start;
    std::unique_ptr<char[]> stack;
    bool started = false;
};

using Kernel = void (*)(void **);

// Those of one thread of the host, and the kernel that they run.
struct Block {
    std::vector<std::unique_ptr<Coroutine>> threads;
    std::vector<uint64_t> shown;
    Coroutine *current;
    jmp_buf scheduler;
    Kernel kernel;
    void **arguments;
};
thread_local Block block;

std::string name_of_kernel() {
    Dl_info found;
    return dladdr((void *)block.kernel, &found) && found.dli_sname ? found.dli_sname : "a kernel";
}

void begin() {
    for (;;) {
        block.kernel(block.arguments);
        block.current->state = Coroutine::DONE;
        if (_setjmp(block.current->here) == 0) _longjmp(block.scheduler, 1);
    }
}

void resume(Coroutine &thread) {
    block.current = &thread;
    emulated_lane = &thread.lane;
    if (_setjmp(block.scheduler)) return;
    if (thread.started) _longjmp(thread.here, 1);
    thread.started = true;
    thread.stack.reset(new char[Coroutine::STACK]);
    getcontext(&thread.start);
    thread.start.uc_stack.ss_sp = thread.stack.get();
    thread.start.uc_stack.ss_size = Coroutine::STACK;
    makecontext(&thread.start, begin, 0);
    setcontext(&thread.start);
}

void wait_at(decltype(Coroutine::state) barrier) {
    block.current->state = barrier;
    if (_setjmp(block.current->here) == 0) _longjmp(block.scheduler, 1);
}

// Has the lanes of a warp go on until none can.
void run_warp(size_t first, size_t end) {
    for (bool more = true; more;) {
        for (size_t i = first; i < end; i++) {
            Coroutine &thread = *block.threads[backwards ? end - 1 - (i - first) : i];
            if (thread.state == Coroutine::READY) resume(thread);
        }
        bool all = true;
        more = false;
        for (size_t i = first; i < end; i++) {
            // Kernels of dfdx have threads that end before others reach a barrier, as GPUs allow.
            all &= block.threads[i]->state == Coroutine::AT_WARP || block.threads[i]->state == Coroutine::DONE;
            more |= block.threads[i]->state == Coroutine::AT_WARP;
        }
        if (!more) return;
        if (!all) fail(name_of_kernel() + ": some lanes of a warp wait for the warp, others for the block");
        for (size_t i = first; i < end; i++)
            if (block.threads[i]->state == Coroutine::AT_WARP) block.threads[i]->state = Coroutine::READY;
    }
}

void run_block(size_t count) {
    for (size_t i = 0; i < count; i++) block.threads[i]->state = Coroutine::READY;
    for (bool more = true; more;) {
        for (size_t i = 0; i < count; i += 32) {
            const size_t warp = backwards ? (count - 1) / 32 * 32 - i : i;
            run_warp(warp, std::min(warp + 32, count));
        }
        more = false;
        for (size_t i = 0; i < count; i++)
            if (block.threads[i]->state == Coroutine::AT_BLOCK) {
                block.threads[i]->state = Coroutine::READY;
                more = true;
            }
    }
}

// Names the kernel that touches what is in no buffer; other faults are left to who handled them before.
struct sigaction before;
void name_kernel(int) {
    if (emulated_lane) fail(name_of_kernel() + " reads or writes what is in no buffer");
    sigaction(SIGSEGV, &before, nullptr);
}

bool names_kernels() {
    struct sigaction ours = {};
    ours.sa_handler = name_kernel;
    return sigaction(SIGSEGV, &ours, &before) == 0;
}

void launch(Kernel kernel, dim3 grid, dim3 size, void **arguments) {
    const size_t count = (size_t)size.x * size.y * size.z;
    if (count == 0 || count > 1024 || grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535)
        fail("a launch of no or too many threads");
    static const bool named = names_kernels();
    if (!named) fail("no handler of SIGSEGV");
    block.kernel = kernel;
    block.arguments = arguments;
    while (block.threads.size() < count) block.threads.emplace_back(new Coroutine);
    block.shown.assign((count + 31) / 32 * 32, 0);
    for (size_t i = 0; i < count; i++) {
        Lane &lane = block.threads[i]->lane;
        const unsigned x = i % size.x, y = i / size.x % size.y, z = i / size.x / size.y;
        lane = {{x, y, z}, {}, size, grid, unsigned(i / 32), unsigned(i % 32), &block.shown[i / 32 * 32]};
    }
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                for (size_t i = 0; i < count; i++) block.threads[i]->lane.block = {x, y, z};
                run_block(count);
            }
    emulated_lane = nullptr;
}

// Sources.

std::string text_of(const std::filesystem::path &path) {
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
}

// Leaves out the kernels of halves, which dfdx has and attnlab does not use.
std::string without_halves(std::string text) {
    static const std::regex of_halves("extern \"C\" __global__ void \\w+_f16\\(");
    std::smatch found;
    while (std::regex_search(text, found, of_halves)) {
        const size_t start = found.position();
        size_t end = text.find('{', start) + 1;
        for (int depth = 1; depth > 0; end++) depth += text[end] == '{' ? 1 : text[end] == '}' ? -1 : 0;
        text.erase(start, end - start);
    }
    return text;
}

// Compiles a source with those options of g++: a library with `run_NAME` for each kernel. Kept for the next
// process in the folder EMULATED_GPU_CACHE.
std::filesystem::path compiled(const std::string &source, const std::string &options, std::string &log) {
    const char *folder = getenv("EMULATED_GPU_CACHE");
    if (!folder) fail("EMULATED_GPU_CACHE names no folder for compiled kernels");
    const std::filesystem::path header = std::filesystem::path(__FILE__).replace_filename("kernel.h");
    const size_t hash = std::hash<std::string>()(source + '\0' + options + '\0' + text_of(header));
    const std::filesystem::path library = std::filesystem::path(folder) / (std::to_string(hash) + ".so");
    static std::mutex one_at_a_time;
    std::lock_guard guard(one_at_a_time);
    if (std::filesystem::exists(library)) return library;
    const std::string stem = library.string() + "." + std::to_string(getpid());
    const std::string in = stem + ".in.cpp", out = stem + ".cpp", log_file = stem + ".log", made = stem + ".so";
    std::ofstream(in) << source;
    auto run = [&](const std::string &command) {
        const bool passed = system((command + " 2> " + log_file).c_str()) == 0;
        if (!passed) log = text_of(log_file);
        return passed;
    };
    // Macros are put in first: some sources name their kernels by them.
    bool passed = run("g++ -E -P -x c++ -D__CUDA_ARCH__=900 -Dintptr_t=emulated_intptr -D'__launch_bounds__(...)=' " + options + " " + in + " -o " + out + ".i");
    if (passed) {
        const std::string text = without_halves(text_of(out + ".i"));
        std::ofstream whole(out);
        whole << "#include \"" << header.string() << "\"\n" << text;
        const std::regex kernel("__global__\\s+void\\s+(\\w+)\\s*\\(");
        for (std::sregex_iterator found(text.begin(), text.end(), kernel), end; found != end; ++found)
            whole << "extern \"C\" void run_" << (*found)[1] << "(void **arguments) { emulated_call(" << (*found)[1]
                  << ", arguments); }\n";
        whole.close();
        // No fused multiply-adds: what a kernel's source says, in that order.
        // To g++ the shared memory of a template is a "unique" symbol: of all libraries of a process, that of the one
        // loaded first would serve, which may be smaller.
        passed = run("g++ -std=c++17 -O2 -w -fPIC -shared -ffp-contract=off -fno-gnu-unique -Wl,-Bsymbolic " + out + " -o " + made);
    }
    for (const std::string &temporary : {in, out, out + ".i", log_file}) std::filesystem::remove(temporary);
    if (!passed) return {};
    std::filesystem::rename(made, library);
    return library;
}

struct Program {
    std::string source, log, library;
};

// Memory: each buffer ends where a page begins that nobody may read or write.

constexpr size_t PAGE = 4096;
// As much as a GPU may have, and where nothing is computed as much as the processor has.
const size_t ALL = idle ? size_t(1) << 40 : size_t(2) << 30;
std::mutex memory;
std::map<Address, size_t> sizes;
size_t in_use = 0;

// Bytes of a buffer's pages, and those of it with what aligns its start to the 16 bytes that a thread may read at once.
size_t pages_of(size_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }
size_t aligned(size_t bytes) { return (bytes + 15) / 16 * 16; }

int allocate(Address *start, size_t bytes) {
    const size_t pages = pages_of(bytes);
    std::unique_lock guard(memory);
    if (in_use + bytes > ALL) return OUT_OF_MEMORY;
    void *at = mmap(nullptr, pages + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) return OUT_OF_MEMORY;
    mprotect(static_cast<char *>(at) + pages, PAGE, PROT_NONE);
    *start = reinterpret_cast<Address>(at) + pages - aligned(bytes);
    sizes[*start] = bytes;
    in_use += bytes;
    guard.unlock();
    if (!idle) memset(at, 0xff, pages);
    return SUCCESS;
}

int release(Address start) {
    if (!start) return SUCCESS;
    std::lock_guard guard(memory);
    const auto found = sizes.find(start);
    if (found == sizes.end()) fail("what is freed was not allocated");
    const size_t bytes = found->second, pages = pages_of(bytes);
    char *end = reinterpret_cast<char *>(start) + aligned(bytes);
    if (!idle && std::any_of(end - (aligned(bytes) - bytes), end, [](char left) { return left != '\xff'; }))
        fail("a kernel has written behind the end of a buffer of " + std::to_string(bytes) + " bytes");
    munmap(end - pages, pages + PAGE);
    in_use -= bytes;
    sizes.erase(found);
    return SUCCESS;
}

constexpr int FAST_BF16 = 75, FAST_TF32 = 77;

// What tensor cores see of a number: 8 bits, 11, or all of them.
unsigned seen_of(int compute) { return compute == FAST_BF16 ? 0xffff0000u : compute == FAST_TF32 ? 0xffffe000u : ~0u; }
float seen(float x, unsigned bits) { return emulated_bits<float>(emulated_bits<unsigned>(x) & bits); }
double seen(double x, unsigned) { return x; }

// c = alpha * op(a) op(b) + beta * c, by columns, as BLAS has it.
template <typename T>
void multiply(bool a_turned, bool b_turned, int m, int n, int k, T alpha, const T *a, int lda, const T *b, int ldb, T beta,
              T *c, int ldc, unsigned bits = ~0u) {
    if (idle) return;
    std::vector<T> column(m), straight((size_t)m * k);
    for (int l = 0; l < k; l++)
        for (int i = 0; i < m; i++) {
            const T x = a_turned ? a[l + (size_t)i * lda] : a[i + (size_t)l * lda];
            straight[i + (size_t)l * m] = seen(x, bits);
        }
    for (int j = 0; j < n; j++) {
        std::fill(column.begin(), column.end(), T(0));
        for (int l = 0; l < k; l++) {
            const T factor = seen(b_turned ? b[j + (size_t)l * ldb] : b[l + (size_t)j * ldb], bits);
            for (int i = 0; i < m; i++) column[i] += straight[i + (size_t)l * m] * factor;
        }
        for (int i = 0; i < m; i++) {
            T &to = c[i + (size_t)j * ldc];
            to = alpha * column[i] + (beta == 0 ? T(0) : beta * to);
        }
    }
}

} // namespace

extern "C" {

thread_local Lane *emulated_lane;
void emulated_block_barrier() { wait_at(Coroutine::AT_BLOCK); }
void emulated_warp_barrier() { wait_at(Coroutine::AT_WARP); }

// The driver.

int cuInit(unsigned) { return SUCCESS; }
int cuDeviceGetCount(int *count) { return *count = 1, SUCCESS; }
int cuDeviceGet(int *device, int ordinal) { return *device = ordinal, ordinal == 0 ? SUCCESS : 101; }
int cuDeviceGetName(char *name, int length, int) { return snprintf(name, length, "emulated GPU"), SUCCESS; }
int cuDeviceGetAttribute(int *value, int attribute, int) {
    // Compute capability 9.0; else a number or a "yes" that suits.
    return *value = attribute == 75 ? 9 : attribute == 76 ? 0 : 1, SUCCESS;
}
int cuDeviceGetDefaultMemPool(void **pool, int) { return *pool = nullptr, SUCCESS; }
int cuMemPoolSetAttribute(void *, int, void *) { return SUCCESS; }
int cuDevicePrimaryCtxRetain(void **context, int) { return *context = &sizes, SUCCESS; }
int cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
int cuCtxSetCurrent(void *) { return SUCCESS; }
int cuCtxGetCurrent(void **context) { return *context = &sizes, SUCCESS; }
int cuEventCreate(void **event, unsigned) { return *event = &sizes, SUCCESS; }
int cuEventDestroy_v2(void *) { return SUCCESS; }
int cuEventRecord(void *, void *) { return SUCCESS; }
int cuStreamCreate(void **stream, unsigned) { return *stream = &sizes, SUCCESS; }
int cuStreamDestroy_v2(void *) { return SUCCESS; }
int cuStreamSynchronize(void *) { return SUCCESS; }
int cuStreamWaitEvent(void *, void *, unsigned) { return SUCCESS; }
int cuGetErrorName(int, const char **name) { return *name = "error of the emulated GPU", SUCCESS; }
int cuGetErrorString(int, const char **text) { return *text = "error of the emulated GPU", SUCCESS; }

int cuMemGetInfo_v2(size_t *left, size_t *all) {
    std::lock_guard guard(memory);
    return *all = ALL, *left = ALL - in_use, SUCCESS;
}
int cuMemAlloc_v2(Address *start, size_t bytes) { return allocate(start, bytes); }
int cuMemAllocAsync(Address *start, size_t bytes, void *) { return allocate(start, bytes); }
int cuMemFree_v2(Address start) { return release(start); }
int cuMemFreeAsync(Address start, void *) { return release(start); }
int cuMemcpyHtoD_v2(Address to, const void *from, size_t bytes) {
    return memcpy(reinterpret_cast<void *>(to), from, bytes), SUCCESS;
}
int cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t bytes, void *) { return cuMemcpyHtoD_v2(to, from, bytes); }
int cuMemcpyDtoH_v2(void *to, Address from, size_t bytes) {
    return memcpy(to, reinterpret_cast<void *>(from), bytes), SUCCESS;
}
int cuMemcpyDtoHAsync_v2(void *to, Address from, size_t bytes, void *) { return cuMemcpyDtoH_v2(to, from, bytes); }
int cuMemcpyDtoD_v2(Address to, Address from, size_t bytes) {
    if (!idle) memmove(reinterpret_cast<void *>(to), reinterpret_cast<void *>(from), bytes);
    return SUCCESS;
}
int cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, void *) { return cuMemcpyDtoD_v2(to, from, bytes); }
int cuMemsetD8_v2(Address at, unsigned char value, size_t bytes) {
    // The host of a GPU does not touch what is the GPU's.
    if (!idle || bytes < 4096) memset(reinterpret_cast<void *>(at), value, bytes);
    return SUCCESS;
}
int cuMemsetD8Async(Address at, unsigned char value, size_t bytes, void *) { return cuMemsetD8_v2(at, value, bytes); }

// An image is the path of a library, or what the emulated nvcc has written: `source OPTIONS PATH`.
int cuModuleLoadData(void **module, const void *image) {
    std::string path = static_cast<const char *>(image);
    if (path.rfind("source ", 0) == 0) {
        std::string log, line = path.substr(7, path.find('\n') - 7);
        const size_t last = line.rfind(' ');
        path = compiled(text_of(line.substr(last + 1)), line.substr(0, last), log);
        if (path.empty()) fail(line + "\n" + log);
    }
    *module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!*module) fail(dlerror());
    return SUCCESS;
}
int cuModuleUnload(void *) { return SUCCESS; }
int cuModuleGetFunction(void **function, void *module, const char *name) {
    *function = dlsym(module, (std::string("run_") + name).c_str());
    return *function ? SUCCESS : NOT_FOUND;
}
int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned, void *, void **arguments, void **) {
    if (!idle) launch(reinterpret_cast<Kernel>(function), {gx, gy, gz}, {bx, by, bz}, arguments);
    return SUCCESS;
}

// NVRTC.

int nvrtcCreateProgram(Program **program, const char *source, const char *, int, const char *const *, const char *const *) {
    return *program = new Program{source}, SUCCESS;
}
int nvrtcCompileProgram(Program *program, int count, const char *const *options) {
    std::string folders;
    for (int i = 0; i < count; i++) {
        const std::string option = options[i], include = "--include-path=";
        if (option.rfind(include, 0) == 0) folders += " -I" + option.substr(include.size());
    }
    program->library = compiled(program->source, folders, program->log);
    return program->library.empty() ? 6 : SUCCESS;
}
int nvrtcGetProgramLogSize(Program *program, size_t *size) { return *size = program->log.size() + 1, SUCCESS; }
int nvrtcGetProgramLog(Program *program, char *log) { return strcpy(log, program->log.c_str()), SUCCESS; }
int nvrtcGetPTXSize(Program *program, size_t *size) { return *size = program->library.size() + 1, SUCCESS; }
int nvrtcGetPTX(Program *program, char *ptx) { return strcpy(ptx, program->library.c_str()), SUCCESS; }
int nvrtcDestroyProgram(Program **program) {
    delete *program;
    return SUCCESS;
}

// cuBLAS. Its 1 says "transposed"; its pointers to scalars are the host's.

int cublasCreate_v2(void **handle) { return *handle = &sizes, SUCCESS; }
int cublasDestroy_v2(void *) { return SUCCESS; }
int cublasSetStream_v2(void *, void *) { return SUCCESS; }
int cublasGemmEx(void *, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int, int lda, const void *b,
                 int, int ldb, const void *beta, void *c, int, int ldc, int compute, int) {
    const auto numbers = [](const void *at) { return static_cast<const float *>(at); };
    multiply<float>(ta, tb, m, n, k, *numbers(alpha), numbers(a), lda, numbers(b), ldb, *numbers(beta),
                    static_cast<float *>(c), ldc, seen_of(compute));
    return SUCCESS;
}
#define products_of(letter, T)                                                                                         \
    int cublas##letter##gemm_v2(void *, int ta, int tb, int m, int n, int k, const T *alpha, const T *a, int lda,      \
                                const T *b, int ldb, const T *beta, T *c, int ldc) {                                   \
        multiply<T>(ta, tb, m, n, k, *alpha, a, lda, b, ldb, *beta, c, ldc);                                           \
        return SUCCESS;                                                                                                \
    }                                                                                                                  \
    int cublas##letter##gemmStridedBatched(void *, int ta, int tb, int m, int n, int k, const T *alpha, const T *a,    \
                                           int lda, long long of_a, const T *b, int ldb, long long of_b,               \
                                           const T *beta, T *c, int ldc, long long of_c, int count) {                  \
        for (int i = 0; i < count; i++)                                                                                \
            multiply<T>(ta, tb, m, n, k, *alpha, a + i * of_a, lda, b + i * of_b, ldb, *beta, c + i * of_c, ldc);      \
        return SUCCESS;                                                                                                \
    }                                                                                                                  \
    int cublas##letter##gemv_v2(void *, int ta, int m, int n, const T *alpha, const T *a, int lda, const T *x, int,    \
                                const T *beta, T *y, int) {                                                            \
        ta ? multiply<T>(true, false, n, 1, m, *alpha, a, lda, x, m, *beta, y, n)                                      \
           : multiply<T>(false, false, m, 1, n, *alpha, a, lda, x, n, *beta, y, m);                                    \
        return SUCCESS;                                                                                                \
    }
products_of(S, float) products_of(D, double)
}
