// Causal attention over ragged documents, forward and backward.
//
// A warp has a few rows of one side (queries, or keys in their backward pass), and each lane one row of a
// tile of 32 of the other side. The quadratic attention matrix is never stored: backward recomputes the
// weights from one statistic per query (Dao et al. 2022, FlashAttention, §3.1).

#define ROWS (HEAD_DIM <= 64 ? 4 : HEAD_DIM <= 96 ? 2 : 1)
#define TILE (WARPS * ROWS)
// Padded by four beyond whole vectors, so that the rows of eight lanes fall into different banks.
#define STEP (WHOLE + 4)

// The grid is [documents, heads, tiles], and blocks start in that order. Those with most work should start
// first, so that none is left running alone at the end: for queries the last tile, which sees most keys;
// for keys the first.
#define LAST_TILE_FIRST (gridDim.z - 1 - blockIdx.z)

// Four blocks per multiprocessor: 64 registers per thread, which is enough if a lane has one channel of a
// row.
#define BOUNDED __launch_bounds__(THREADS, HEAD_DIM <= 32 ? 4 : 2)

// One head over one document: where its rows start, and how many there are.
struct HeadSlice {
    u32 head, column, key_column;
    u32 first_query, queries, first_key, keys;
    float slope;
};

__device__ HeadSlice slice_of(const Heads& h, u32 document, u32 head) {
    HeadSlice p;
    p.head = head;
    p.column = head * HEAD_DIM;
    p.key_column = head / h.group * HEAD_DIM;
    p.first_query = h.query_starts[document];
    p.queries = h.query_starts[document + 1] - p.first_query;
    p.first_key = h.key_starts[document];
    p.keys = h.key_starts[document + 1] - p.first_key;
    p.slope = slope_of(h, head);
    return p;
}

// Loads `rows` rows from `first` on, of `count` in total, into shared memory; zeros beyond.
__device__ __forceinline__ void load(float (*to)[STEP], const float* from, u32 step, u32 first, u32 count, u32 rows) {
#if HEAD_DIM % 4 == 0
    // Heads that lie side by side are aligned to vectors if the rows are.
    if (step % 4 == 0) {
        for (u32 i = threadIdx.x; i < rows * (WHOLE / 4); i += WARPS * 32) {
            const u32 row = i / (WHOLE / 4), channel = i % (WHOLE / 4) * 4;
            const float4 nothing = {0.0f, 0.0f, 0.0f, 0.0f};
            *(float4*)&to[row][channel] =
                first + row < count ? *(const float4*)(from + (size_t)(first + row) * step + channel) : nothing;
        }
        return;
    }
#endif
    for (u32 i = threadIdx.x; i < rows * WHOLE; i += blockDim.x) {
        const u32 row = i / WHOLE, channel = i % WHOLE;
        const bool there = first + row < count && channel < HEAD_DIM;
        to[row][channel] = there ? from[(size_t)(first + row) * step + channel] : 0.0f;
    }
}

// products[r] = own · others[r], for a row of this lane and ROWS rows that all lanes read.
__device__ __forceinline__ void products_of(const float* own, float (*others)[STEP], float* products) {
#pragma unroll
    for (int r = 0; r < ROWS; r++) products[r] = 0.0f;
#pragma unroll
    for (int c = 0; c < WHOLE; c += 4) {
        const float4 x = *(const float4*)(own + c);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const float4 y = *(const float4*)&others[r][c];
            products[r] += x.x * y.x + x.y * y.y + x.z * y.z + x.w * y.w;
        }
    }
}

// The part of a tile of 32, from `first` to before `end`, that a warp needs.
struct Span {
    u32 first, end;
};

// The overlap of `first` to before `end` with the tile that starts at `tile`.
__device__ __forceinline__ Span part_of(u32 tile, u32 first, u32 end) {
    return {first > tile ? first - tile : 0, end > tile ? min(end - tile, 32u) : 0};
}

// to[r][i] += Σ_j weights[r][j] * rows[j][lane + 32 i], over a tile of 32; weights beyond the span are 0.
__device__ __forceinline__ void add_weighted(float (*to)[PER_LANE(HEAD_DIM)], float (*weights)[32], float (*rows)[STEP], u32 lane,
                                      Span span) {
#pragma unroll
    for (int i = 0; i < PER_LANE(HEAD_DIM); i++) {
        const u32 channel = lane + 32 * i;
        if (channel >= HEAD_DIM) continue;
#pragma unroll
        for (int j = 0; j < 32; j += 4) {
            if (j + 4 <= span.first || j >= span.end) continue;
            const float a = rows[j][channel], b = rows[j + 1][channel];
            const float c = rows[j + 2][channel], d = rows[j + 3][channel];
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                const float4 w = *(const float4*)&weights[r][j];
                to[r][i] += w.x * a + w.y * b + w.z * c + w.w * d;
            }
        }
    }
}

// Whether a query attends to a key. Its last key is at its own position, or the last there is.
__device__ __forceinline__ bool sees(const Heads& h, const HeadSlice& p, u32 query, u32 key) {
    const u32 last = min(query, p.keys - 1);
    return query < p.queries && key <= last && key >= first_key_of(last, h.window);
}

// The keys that a warp's queries attend to; `first` is its first query.
__device__ __forceinline__ Span keys_of(const Heads& h, const HeadSlice& p, u32 first) {
    if (first >= p.queries) return {0, 0};
    const u32 end = min(min(first + ROWS, p.queries), p.keys);
    return {first_key_of(min(first, p.keys - 1), h.window), end};
}

__device__ __forceinline__ u32 drop_index(const Heads& h, const HeadSlice& p, u32 query, u32 key) {
    return ((p.first_query + query) * h.heads + p.head) * h.context + key;
}

// out = weights · values, heads side by side. `statistics: [queries, heads]` is the logarithm of a query's
// sum of exponentials, its sink's included, or the sum of its weights, 1 where they are not divided by it.
extern "C" __global__ void BOUNDED attend(Heads h, float* out, float* statistics) {
    __shared__ __align__(16) float queries[TILE][STEP], keys[32][STEP], values[32][STEP];
    __shared__ __align__(16) float weights[WARPS][ROWS][32];
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const HeadSlice p = slice_of(h, blockIdx.x, blockIdx.y);
    const u32 start = LAST_TILE_FIRST * TILE;
    if (start >= p.queries || p.keys == 0) return;
    load(queries, h.queries + (size_t)p.first_query * h.query_step + p.column, h.query_step, start, p.queries, TILE);
    const float* of_keys = h.keys + (size_t)p.first_key * h.key_step + p.key_column;
    const float* of_values = h.values + (size_t)p.first_key * h.key_step + p.key_column;

    float weighted[ROWS][PER_LANE(HEAD_DIM)], most[ROWS], total[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        most[r] = NEGATIVE_INFINITY;
        total[r] = 0.0f;
#pragma unroll
        for (int i = 0; i < PER_LANE(HEAD_DIM); i++) weighted[r][i] = 0.0f;
    }
    const u32 first_key = first_key_of(min(start, p.keys - 1), h.window);
    const u32 end_key = min(min(start + TILE, p.queries), p.keys);
    const Span own = keys_of(h, p, start + warp * ROWS);
    for (u32 tile = first_key / 32 * 32; tile < end_key; tile += 32) {
        __syncthreads();
        load(keys, of_keys, h.key_step, tile, p.keys, 32);
        load(values, of_values, h.key_step, tile, p.keys, 32);
        __syncthreads();
        const Span span = part_of(tile, own.first, own.end);
        if (span.first >= span.end) continue;
        float products[ROWS];
        products_of(keys[lane], &queries[warp * ROWS], products);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const u32 query = start + warp * ROWS + r, key = tile + lane;
            const u32 last = min(query, p.keys - 1);
            const bool seen = sees(h, p, query, key);
            float score = capped(h, products[r] * h.scale);
            float weight;
            if (h.similarity != SOFTMAX) {
                weight = seen ? weight_of_score(h, score, addend_of(h, p.slope, key, last - key), last) : 0.0f;
                total[r] += weight;
            } else {
                score = seen ? score + addend_of(h, p.slope, key, last - key) : NEGATIVE_INFINITY;
                const float larger = fmaxf(most[r], warp_max(score));
                const float before = larger == NEGATIVE_INFINITY ? 1.0f : expf(most[r] - larger);
                weight = seen ? expf(score - larger) : 0.0f;
                total[r] = total[r] * before + weight;
#pragma unroll
                for (int i = 0; i < PER_LANE(HEAD_DIM); i++) weighted[r][i] *= before;
                most[r] = larger;
            }
            weights[warp][r][lane] = seen ? weight * kept(h.dropout, drop_index(h, p, query, key)) : 0.0f;
        }
        __syncwarp();
        add_weighted(weighted, weights[warp], values, lane, span);
        __syncwarp();
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const u32 query = start + warp * ROWS + r;
        if (query >= p.queries) continue;
        // Until here each lane has a partial sum.
        total[r] = has_sum(h) ? warp_sum(total[r]) : 1.0f;
        if (h.sink) {
            const float sink = sink_of(h, p.head), larger = fmaxf(most[r], sink), before = expf(most[r] - larger);
            total[r] = total[r] * before + expf(sink - larger);
#pragma unroll
            for (int i = 0; i < PER_LANE(HEAD_DIM); i++) weighted[r][i] *= before;
            most[r] = larger;
        }
        const size_t row = p.first_query + query;
#pragma unroll
        for (int i = 0; i < PER_LANE(HEAD_DIM); i++) {
            const u32 channel = lane + 32 * i;
            if (channel < HEAD_DIM) out[row * h.heads * HEAD_DIM + p.column + channel] = weighted[r][i] / total[r];
        }
        if (lane == 0) statistics[row * h.heads + p.head] = h.similarity != SOFTMAX ? total[r] : most[r] + logf(total[r]);
    }
}

// The weight of a key before dropout, given its score.
__device__ __forceinline__ float weight_of(const Heads& h, const HeadSlice& p, float score, u32 key, u32 last,
                                           float statistic) {
    const float addend = addend_of(h, p.slope, key, last - key);
    return h.similarity != SOFTMAX ? weight_of_score(h, score, addend, last) / statistic
                                   : expf(score + addend - statistic);
}

// The gradient of the product of query and key.
__device__ __forceinline__ float score_gradient(const Heads& h, float score, float weight, float dweight, float along,
                                                float statistic) {
    const float rest = dweight - along;
    if (h.similarity == FEATURES) return rest * h.scale * (1.0f / statistic);
    if (h.similarity == TAYLOR) return rest * h.scale * (1.0f + score) / statistic;
    const float gradient = h.similarity == SIGMOID ? dweight * h.scale * weight * (1.0f - weight) : rest * h.scale * weight;
    return gradient * cap_slope(h, score);
}

// Writes the gradient of the queries, and the term of the softmax gradient that all keys of a query share,
// `along: [queries, heads]`: Σ_c out · dout.
extern "C" __global__ void BOUNDED
attend_backward_queries(Heads h, const float* out, const float* dout, const float* statistics, float* along,
                        float* dqueries, u32 gradient_step) {
    __shared__ __align__(16) float queries[TILE][STEP], douts[TILE][STEP], keys[32][STEP], values[32][STEP];
    __shared__ __align__(16) float gradients[WARPS][ROWS][32];
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const HeadSlice p = slice_of(h, blockIdx.x, blockIdx.y);
    const u32 start = LAST_TILE_FIRST * TILE, step = h.heads * HEAD_DIM;
    if (start >= p.queries || p.keys == 0) return;
    const size_t origin = (size_t)p.first_query * step + p.column;
    load(queries, h.queries + (size_t)p.first_query * h.query_step + p.column, h.query_step, start, p.queries, TILE);
    load(douts, dout + origin, step, start, p.queries, TILE);
    const float* of_keys = h.keys + (size_t)p.first_key * h.key_step + p.key_column;
    const float* of_values = h.values + (size_t)p.first_key * h.key_step + p.key_column;

    float sums[ROWS][PER_LANE(HEAD_DIM)], of_query[ROWS], statistic[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const u32 query = start + warp * ROWS + r;
        float sum = 0.0f;
#pragma unroll
        for (int i = 0; i < PER_LANE(HEAD_DIM); i++) {
            const u32 channel = lane + 32 * i;
            sums[r][i] = 0.0f;
            if (query < p.queries && channel < HEAD_DIM) {
                const size_t at = origin + (size_t)query * step + channel;
                sum += out[at] * dout[at];
            }
        }
        of_query[r] = warp_sum(sum);
        const size_t at = (size_t)(p.first_query + query) * h.heads + p.head;
        statistic[r] = query < p.queries ? statistics[at] : 1.0f;
        if (lane == 0 && query < p.queries) along[at] = of_query[r];
    }
    const u32 first_key = first_key_of(min(start, p.keys - 1), h.window);
    const u32 end_key = min(min(start + TILE, p.queries), p.keys);
    const Span own = keys_of(h, p, start + warp * ROWS);
    for (u32 tile = first_key / 32 * 32; tile < end_key; tile += 32) {
        __syncthreads();
        load(keys, of_keys, h.key_step, tile, p.keys, 32);
        load(values, of_values, h.key_step, tile, p.keys, 32);
        __syncthreads();
        const Span span = part_of(tile, own.first, own.end);
        if (span.first >= span.end) continue;
        float products[ROWS], dproducts[ROWS];
        products_of(keys[lane], &queries[warp * ROWS], products);
        products_of(values[lane], &douts[warp * ROWS], dproducts);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const u32 query = start + warp * ROWS + r, key = tile + lane;
            const u32 last = min(query, p.keys - 1);
            float gradient = 0.0f;
            if (sees(h, p, query, key)) {
                const float score = capped(h, products[r] * h.scale);
                const float weight = weight_of(h, p, score, key, last, statistic[r]);
                const float dweight = dproducts[r] * kept(h.dropout, drop_index(h, p, query, key));
                gradient = score_gradient(h, score, weight, dweight, of_query[r], statistic[r]);
            }
            gradients[warp][r][lane] = gradient;
        }
        __syncwarp();
        add_weighted(sums, gradients[warp], keys, lane, span);
        __syncwarp();
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const u32 query = start + warp * ROWS + r;
        if (query >= p.queries) continue;
#pragma unroll
        for (int i = 0; i < PER_LANE(HEAD_DIM); i++) {
            const u32 channel = lane + 32 * i;
            if (channel < HEAD_DIM)
                dqueries[(size_t)(p.first_query + query) * gradient_step + p.column + channel] = sums[r][i];
        }
    }
}

// Writes the gradients of keys and values, and of the position bias of each key, `[keys, heads]`, if there
// is one. A block has one head of keys, and loops over the query heads that share it.
extern "C" __global__ void BOUNDED
attend_backward_keys(Heads h, const float* dout, const float* statistics, const float* along, float* dkeys,
                     float* dvalues, u32 gradient_step, float* daddends) {
    __shared__ __align__(16) float keys[TILE][STEP], values[TILE][STEP], queries[32][STEP], douts[32][STEP];
    __shared__ __align__(16) float weights[WARPS][ROWS][32], gradients[WARPS][ROWS][32];
    // The shared memory that every GPU gives a block without opting in for more. No other kernel here needs
    // as much.
    static_assert(sizeof keys + sizeof values + sizeof queries + sizeof douts + sizeof weights + sizeof gradients <= 48 * 1024,
                  "a head is too wide for its tiles");
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    HeadSlice p = slice_of(h, blockIdx.x, blockIdx.y * h.group);
    const u32 start = blockIdx.z * TILE, step = h.heads * HEAD_DIM;
    if (start >= p.keys) return;
    const size_t origin = (size_t)p.first_key * h.key_step + p.key_column;
    load(keys, h.keys + origin, h.key_step, start, p.keys, TILE);
    load(values, h.values + origin, h.key_step, start, p.keys, TILE);
    float of_keys[ROWS][PER_LANE(HEAD_DIM)], of_values[ROWS][PER_LANE(HEAD_DIM)];
#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int i = 0; i < PER_LANE(HEAD_DIM); i++) of_keys[r][i] = of_values[r][i] = 0.0f;
    // For the row with the number of the lane.
    float of_addend = 0.0f;

    // If every query has a key at its own position, a window limits the queries that attend to these keys.
    const bool bounded = p.queries <= p.keys && h.window < p.queries;
    const u32 end = bounded ? min(p.queries, start + TILE - 1 + h.window) : p.queries;
    for (u32 member = 0; member < h.group; member++) {
        p = slice_of(h, blockIdx.x, blockIdx.y * h.group + member);
        const float* of_queries = h.queries + (size_t)p.first_query * h.query_step + p.column;
        const float* of_douts = dout + (size_t)p.first_query * step + p.column;
        for (u32 tile = start / 32 * 32; tile < end; tile += 32) {
            __syncthreads();
            load(queries, of_queries, h.query_step, tile, p.queries, 32);
            load(douts, of_douts, step, tile, p.queries, 32);
            __syncthreads();
            // Queries before a key do not attend to it.
            const Span span = part_of(tile, start + warp * ROWS, start + warp * ROWS < p.keys ? p.queries : 0);
            if (span.first >= span.end) continue;
            const u32 query = tile + lane, last = min(query, p.keys - 1);
            const size_t at = (size_t)(p.first_query + query) * h.heads + p.head;
            const float statistic = query < p.queries ? statistics[at] : 1.0f;
            const float of_query = query < p.queries ? along[at] : 0.0f;
            float products[ROWS], dproducts[ROWS];
            products_of(queries[lane], &keys[warp * ROWS], products);
            products_of(douts[lane], &values[warp * ROWS], dproducts);
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                const u32 key = start + warp * ROWS + r;
                float weight = 0.0f, gradient = 0.0f;
                if (sees(h, p, query, key)) {
                    const float score = capped(h, products[r] * h.scale);
                    weight = weight_of(h, p, score, key, last, statistic);
                    const float factor = kept(h.dropout, drop_index(h, p, query, key));
                    const float dweight = dproducts[r] * factor;
                    gradient = score_gradient(h, score, weight, dweight, of_query, statistic);
                    weight *= factor;
                }
                weights[warp][r][lane] = weight;
                gradients[warp][r][lane] = gradient;
            }
            __syncwarp();
            if (POSITION_BIAS && lane < ROWS)
                for (int j = 0; j < 32; j++) of_addend += gradients[warp][lane][j];
            add_weighted(of_values, weights[warp], douts, lane, span);
            add_weighted(of_keys, gradients[warp], queries, lane, span);
            __syncwarp();
        }
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const u32 key = start + warp * ROWS + r;
        if (key >= p.keys) continue;
        if (POSITION_BIAS && lane == r) daddends[(size_t)(p.first_key + key) * gridDim.y + blockIdx.y] = of_addend / h.scale;
#pragma unroll
        for (int i = 0; i < PER_LANE(HEAD_DIM); i++) {
            const u32 channel = lane + 32 * i;
            if (channel >= HEAD_DIM) continue;
            const size_t at = (size_t)(p.first_key + key) * gradient_step + p.key_column + channel;
            dkeys[at] = of_keys[r][i];
            dvalues[at] = of_values[r][i];
        }
    }
}
