// The delta rule: what a key already retrieves is subtracted from its value before this is written to the state (Yang et al. 2024,
// DeltaNet, §3.1).

// Solves for the corrected values of one head over a document: with the errors
// `e_i = x_i - Σ_j growth_ij (k_i · k_j) y_j` over the tokens j before i, `y_i = sigmoid(beta_i) e_i`. Values may be
// overwritten by what is `corrected`; `errors: [tokens, heads * HEAD_DIM]` may be null. Tokens before `rows.firsts` are
// corrected already.
//
// Backward is the same with the tokens in reverse: from the gradients of corrected values to those of the errors, which
// are those of the values too.
//
// A block goes through a document tile by tile, and a tile row by row. Its loops number tokens in the order in which
// they are solved.
template <bool REVERSED>
__device__ void solve(const Heads& h, const float* values, u32 value_step, float* corrected, u32 corrected_step,
                      float* errors, const float* beta, u32 beta_step, const DocumentRows& rows) {
    __shared__ __align__(16) float keys[TILE][STEP], solved[TILE][STEP], others[32][CHUNK_STEP];
    __shared__ __align__(16) float retrieved[WARPS][ROWS][32];
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, head = blockIdx.y, column = head * HEAD_DIM;
    const u32 start = h.key_starts[blockIdx.x], n = rows.ends[blockIdx.x] - start;
    const float slope = slope_of(h, head);
    const int sign = REVERSED ? -1 : 1;
    // The row of the token with number 0.
    const size_t origin = REVERSED ? rows.ends[blockIdx.x] - 1 : start;
    const float* of_keys = h.keys + origin * h.key_step + column;
    float* to = corrected + origin * corrected_step + column;
    for (u32 own = rows.firsts[blockIdx.x] - start; own < n; own += TILE) {
        __syncthreads();
        load<STEP - 4>(keys, of_keys, sign * (int)h.key_step, own, n, TILE);
        float error[ROWS][CHANNELS];
        for (int r = 0; r < ROWS; r++) {
            const u32 token = own + warp * ROWS + r;
#pragma unroll
            for (int i = 0; i < CHANNELS; i++) {
                const u32 channel = lane + 32 * i;
                error[r][i] = 0.0f;
                if (token < n && channel < HEAD_DIM)
                    error[r][i] = values[(long long)(origin + (long long)sign * token) * value_step + column + channel];
            }
        }
        // What the keys retrieve of the tiles before them, and last of their own.
        for (u32 tile = 0; tile < own + 32; tile += 32) {
            const bool is_own = tile >= own;
            const u32 first = is_own ? own : tile;
            float products[ROWS] = {};
            for (u32 chunk = 0; chunk < CHUNKS; chunk++) {
                __syncthreads();
                load<CHUNK>(others, of_keys, sign * (int)h.key_step, first, is_own ? n : own, 32, chunk * CHUNK);
                __syncthreads();
                add_products(others[lane], &keys[warp * ROWS], chunk * CHUNK, products);
            }
            for (int r = 0; r < ROWS; r++) {
                const u32 token = own + warp * ROWS + r, other = first + lane;
                const u32 later = REVERSED ? n - 1 - other : token, earlier = REVERSED ? n - 1 - token : other;
                const bool is_retrieved = token < n && other < (is_own ? token : own);
                retrieved[warp][r][lane] =
                    is_retrieved ? -products[r] * expf(addend_of(h, head, slope, start, earlier, later)) : 0.0f;
            }
            __syncwarp();
            if (is_own) break;
#pragma unroll
            for (int chunk = 0; chunk < CHUNKS; chunk++) {
                __syncthreads();
                load<CHUNK>(others, to, sign * (int)corrected_step, tile, own, 32, chunk * CHUNK);
                __syncthreads();
                add_weighted(error, retrieved[warp], others, lane, {0, 32}, chunk);
            }
            __syncwarp();
        }
        // Row by row, each with those before it.
        for (u32 turn = 0; turn < WARPS; turn++) {
            for (int r = 0; r < ROWS && turn == warp; r++) {
                const u32 row = warp * ROWS + r, token = own + row;
                if (token >= n) continue;
                const long long at = origin + (long long)sign * token;
                const float part = sigmoid(beta[at * beta_step + head]);
#pragma unroll
                for (int i = 0; i < CHANNELS; i++) {
                    const u32 channel = lane + 32 * i;
                    if (channel >= HEAD_DIM) continue;
                    for (u32 other = 0; other < row; other++) error[r][i] += retrieved[warp][r][other] * solved[other][channel];
                    solved[row][channel] = part * error[r][i];
                    corrected[at * corrected_step + column + channel] = part * error[r][i];
                    if (errors != 0) errors[at * h.maps * HEAD_DIM + column + channel] = error[r][i];
                }
            }
            __syncthreads();
        }
    }
}

// These two take the start and stride of a matrix as separate arguments: passing a `Matrix` costs registers.
extern "C" __global__ void correct(Heads h, const float* values, u32 value_step, float* corrected, u32 corrected_step,
                                   float* errors, const float* beta, u32 beta_step, DocumentRows rows) {
    solve<false>(h, values, value_step, corrected, corrected_step, errors, beta, beta_step, rows);
}

// From the gradients of corrected values to those of the values; `errors` gets them before β.
extern "C" __global__ void correct_backward(Heads h, const float* values, u32 value_step, float* corrected,
                                            u32 corrected_step, float* errors, const float* beta, u32 beta_step,
                                            DocumentRows rows) {
    solve<true>(h, values, value_step, corrected, corrected_step, errors, beta, beta_step, rows);
}

// Writes the gradient of β before the sigmoid, `[tokens, heads]`, from the errors and their gradients before β,
// `[tokens, heads * HEAD_DIM]`; one warp per token and head.
extern "C" __global__ void beta_backward(const float* beta, const float* errors, const float* derrors, float* dbeta,
                                         u32 count) {
    const u32 at = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (at >= count) return;
    float along = 0.0f;
    for (u32 channel = lane; channel < HEAD_DIM; channel += 32)
        along += errors[(size_t)at * HEAD_DIM + channel] * derrors[(size_t)at * HEAD_DIM + channel];
    along = warp_sum(along);
    const float part = sigmoid(beta[at]);
    if (lane == 0) dbeta[at] = part * (1.0f - part) * along;
}

// Adds the gradients of keys as both sides of their products, `[tokens, width]` each, to those they have.
extern "C" __global__ void add_keys(Matrix dkeys, const float* first, const float* second, u32 width, u32 count) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) dkeys.row(i / width)[i % width] += first[i] + second[i];
}
