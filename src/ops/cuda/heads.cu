// Causal attention over ragged documents, forward and backward.
//
// The quadratic attention matrix is never stored: backward recomputes the weights from one statistic per query (Dao et
// al. 2022, FlashAttention, §3.1). Stick-breaking alone also keeps, during backward, what is left of each stick
// before each tile of keys.

// The grid is [documents, maps, tiles], and blocks start in that order. Those with most work should start
// first, so that none is left running alone at the end: for queries the last tile, which sees most keys;
// for keys the first.
#define LAST_TILE_FIRST (gridDim.z - 1 - blockIdx.z)

// Four blocks per multiprocessor: 64 registers per thread, which is enough if a lane has one channel of a
// row.
#define BOUNDED __launch_bounds__(THREADS, HEAD_DIM <= 32 ? 4 : 2)

// The keys or the values of a head over a document.
__device__ __forceinline__ Side side_of_keys(const Heads& h, const HeadSlice& p, const float* from, float (*rows)[CHUNK_STEP]) {
    return {rows, from + (size_t)p.first_key * h.key_step + p.key_column, h.key_step, p.keys};
}

// The tiles of 32 keys that a block's queries attend to.
struct Tiles {
    u32 first, count;
};

__device__ __forceinline__ Tiles tiles_of(const Heads& h, const HeadSlice& p, u32 start) {
    const u32 first = first_key_of(min(start, p.keys - 1), h.window) / 32 * 32;
    return {first, (min(min(start + TILE, p.queries), p.keys) - first + 31) / 32};
}

// The first key of a tile, given its number in the order in which tiles are taken: stick-breaking starts at the last key.
__device__ __forceinline__ u32 tile_at(const Heads& h, const Tiles& tiles, u32 i) {
    return tiles.first + 32 * (STICKS ? tiles.count - 1 - i : i);
}

// out = weights · values, maps side by side. `statistics: [queries, maps]` is the logarithm of a query's
// sum of exponentials, its sink's included, or the sum of its weights, 1 where they are not divided by it.
extern "C" __global__ void BOUNDED attend(Heads h, float* out, float* statistics) {
    __shared__ __align__(16) float queries[TILE][STEP], keys[32][CHUNK_STEP], values[32][CHUNK_STEP];
    __shared__ __align__(16) float weights[WARPS][ROWS][32];
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const HeadSlice p = slice_of(h, blockIdx.x, blockIdx.y);
    const u32 start = LAST_TILE_FIRST * TILE;
    if (start >= p.queries || p.keys == 0) return;
    const float* of_queries = h.queries + (size_t)p.first_query * h.query_step + p.column;
    load<STEP - 4>(queries, of_queries, h.query_step, start, p.queries, TILE);
    const Side of_keys = side_of_keys(h, p, h.keys, keys), of_values = side_of_keys(h, p, h.values, values);

    // Stick-breaking uses `left`; the others use the sum, `total`.
    float weighted[ROWS][CHANNELS] = {}, most[ROWS], total[ROWS] = {}, left[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        most[r] = NEGATIVE_INFINITY;
        left[r] = 1.0f;
    }
    const Tiles tiles = tiles_of(h, p, start);
    const Span own = keys_of(h, p, start + warp * ROWS);
    for (u32 i = 0; i < tiles.count; i++) {
        const u32 tile = tile_at(h, tiles, i);
        const Span span = part_of(tile, own.first, own.end);
        const bool needed = span.first < span.end;
        float products[ROWS] = {};
        compare(of_keys, of_values, tile, needed, &queries[warp * ROWS], products);
        if (CHUNKS == 1 && !needed) continue;
#pragma unroll
        for (int r = 0; r < ROWS && needed; r++) {
            const u32 query = start + warp * ROWS + r, key = tile + lane;
            const u32 last = min(query, p.keys - 1);
            const bool seen = sees(h, p, query, key);
            float score = seen ? capped(h, scaled(h, products[r], key)) : 0.0f;
            float weight;
            if (h.similarity != SOFTMAX) {
                weight = seen ? weight_of_score(h, score, addend_of(h, p, key, last), last) : 0.0f;
                total[r] += weight;
                if (STICKS) weight *= scan_after<true>(1.0f - weight, lane, &left[r]);
            } else {
                score = seen ? score + addend_of(h, p, key, last) : NEGATIVE_INFINITY;
                const float larger = fmaxf(most[r], warp_max(score));
                const float before = larger == NEGATIVE_INFINITY ? 1.0f : expf(most[r] - larger);
                weight = seen ? expf(score - larger) : 0.0f;
                total[r] = total[r] * before + weight;
#pragma unroll
                for (int c = 0; c < CHANNELS; c++) weighted[r][c] *= before;
                most[r] = larger;
            }
            weights[warp][r][lane] = seen ? weight * kept(h.dropout, drop_index(h, p, query, key)) : 0.0f;
        }
        __syncwarp();
        add_tile(weighted, weights[warp], of_values, tile, lane, span);
        __syncwarp();
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const u32 query = start + warp * ROWS + r;
        if (query >= p.queries) continue;
        // Until here each lane has a partial sum.
        total[r] = has_sum(h) ? warp_sum(total[r]) : 1.0f;
        if (h.sink) {
            const float sink = sink_of(h, p.map), larger = fmaxf(most[r], sink), before = expf(most[r] - larger);
            total[r] = total[r] * before + expf(sink - larger);
#pragma unroll
            for (int i = 0; i < CHANNELS; i++) weighted[r][i] *= before;
            most[r] = larger;
        }
        const size_t row = p.first_query + query;
        store(out + row * h.maps * HEAD_DIM + p.column, weighted[r], lane, total[r]);
        if (lane == 0) statistics[row * h.maps + p.map] = h.similarity != SOFTMAX ? total[r] : most[r] + logf(total[r]);
    }
}

// The weight of a key before dropout, given its score and what is added to it.
__device__ __forceinline__ float weight_of(const Heads& h, float score, float addend, u32 last, float statistic) {
    return h.similarity != SOFTMAX ? weight_of_score(h, score, addend, last) / statistic
                                   : expf(score + addend - statistic);
}

// The gradient of what is added to a score.
__device__ __forceinline__ float addend_gradient(const Heads& h, float score, float weight, float dweight, float along,
                                                 float statistic) {
    const float rest = dweight - along;
    if (h.similarity == FEATURES) return rest * (1.0f / statistic);
    if (h.similarity == TAYLOR) return rest * (1.0f + score) / statistic;
    if (h.similarity == SIGMOID) return dweight * weight * (1.0f - weight);
    return (h.similarity == PRODUCT ? dweight : rest) * weight;
}

// What a pair of query and key passes back: the weight after dropout, the gradient of their product, and that of what
// is added to its score.
struct Passed {
    float weight, product, addend;
};

// `along` is the term of the gradient that all keys of the query share.
__device__ __forceinline__ Passed passed_by(const Heads& h, const HeadSlice& p, u32 query, u32 key, float product,
                                            float dproduct, float statistic, float along) {
    Passed passed = {};
    if (!sees(h, p, query, key)) return passed;
    const u32 last = min(query, p.keys - 1);
    const float score = capped(h, scaled(h, product, key)), addend = addend_of(h, p, key, last);
    const float weight = weight_of(h, score, addend, last, statistic);
    const float factor = kept(h.dropout, drop_index(h, p, query, key)), dweight = dproduct * factor;
    passed.weight = weight * factor;
    passed.addend = addend_gradient(h, score, weight, dweight, along, statistic);
    passed.product = h.scale * (h.similarity == PRODUCT ? dweight * expf(addend) : passed.addend * cap_slope(h, score));
    return passed;
}

// A key in stick-breaking: what it takes of what is left, and its weight's gradient.
struct Piece {
    float score, taken, factor, dweight;
};

__device__ __forceinline__ Piece piece_of(const Heads& h, const HeadSlice& p, u32 query, u32 key, float product,
                                          float dproduct) {
    Piece piece = {};
    if (!sees(h, p, query, key)) return piece;
    const u32 last = min(query, p.keys - 1);
    piece.score = capped(h, scaled(h, product, key));
    piece.taken = weight_of_score(h, piece.score, addend_of(h, p, key, last), last);
    piece.factor = kept(h.dropout, drop_index(h, p, query, key));
    piece.dweight = dproduct * piece.factor;
    return piece;
}

// Gradients of a stick-breaking key, given what later keys leave of the stick, and the sum of weight times gradient over
// all keys up to this one: taking more leaves less for earlier keys (Tan et al. 2024, Stick-breaking Attention, §3.1).
__device__ __forceinline__ Passed passed_by(const Heads& h, const Piece& piece, float left, float up_to) {
    const float weight = piece.taken == 0.0f ? 0.0f : piece.taken * left;
    const float addend = piece.taken == 0.0f ? 0.0f : weight * piece.dweight - piece.taken * up_to;
    return {weight * piece.factor, addend * cap_slope(h, piece.score) * h.scale, addend};
}

// Index into `carries`, `[queries, maps, tiles]`: for a query and the tile of `key`, what later tiles leave of the stick,
// and the sum of weight times gradient up to the tile's last key.
__device__ __forceinline__ size_t carry_at(const Heads& h, const HeadSlice& p, u32 query, u32 key) {
    return ((size_t)(p.first_query + query) * h.maps + p.map) * gridDim.z + key / TILE;
}

// Adds a tile's gradients of a bias to `*to`: for FORGET to this lane's part of the query's sum, for RELATIVE to the sum of
// this lane's bucket.
__device__ __forceinline__ void add_addends(const Heads& h, const float* addends, u32 tile, u32 last, u32 lane, float* to) {
    if (h.bias != RELATIVE) {
        *to += addends[lane];
        return;
    }
    // The keys of a bucket's distances.
    const u32 nearest = first_distance_of(lane);
    if (nearest > last) return;
    const u32 farthest = lane == BUCKETS - 1 ? last : min(first_distance_of(lane + 1) - 1, last);
    const Span keys = part_of(tile, last - farthest, last - nearest + 1);
    for (u32 key = keys.first; key < keys.end; key++) *to += addends[key];
}

// Writes the gradient of the queries, and the term of the softmax gradient that all keys of a query share,
// `along: [queries, maps]`: Σ_c out · dout. `out` and `statistics` are null where weights are not divided by their sum.
// Writes `daddends`, if it is not null: `[queries, maps]` of the sums of forget gates, as far as queries have them, or
// the share of each query in the relative positions, `[queries, BUCKETS, maps]`.
extern "C" __global__ void BOUNDED
attend_backward_queries(Heads h, const float* out, Matrix dout, const float* statistics, float* along, Matrix dqueries,
                        float* daddends, float2* carries) {
    __shared__ __align__(16) float queries[TILE][STEP], douts[TILE][STEP], keys[32][CHUNK_STEP], values[32][CHUNK_STEP];
    __shared__ __align__(16) float gradients[WARPS][ROWS][32];
    __shared__ float addends[LEARNED_BIAS ? WARPS : 1][32];
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const HeadSlice p = slice_of(h, blockIdx.x, blockIdx.y);
    const u32 start = LAST_TILE_FIRST * TILE;
    if (start >= p.queries || p.keys == 0) return;
    const float* of_queries = h.queries + (size_t)p.first_query * h.query_step + p.column;
    const float* of_douts = dout.row(p.first_query) + p.column;
    load<STEP - 4>(queries, of_queries, h.query_step, start, p.queries, TILE);
    load<STEP - 4>(douts, of_douts, dout.step, start, p.queries, TILE);
    const Side of_keys = side_of_keys(h, p, h.keys, keys), of_values = side_of_keys(h, p, h.values, values);

    float sums[ROWS][CHANNELS] = {}, of_query[ROWS], statistic[ROWS], left[ROWS], later[ROWS] = {}, added[ROWS] = {};
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const u32 query = start + warp * ROWS + r;
        const size_t row = p.first_query + query;
        float sum = 0.0f;
#pragma unroll
        for (int i = 0; i < CHANNELS; i++) {
            const u32 channel = lane + 32 * i;
            if (out != 0 && query < p.queries && channel < HEAD_DIM)
                sum += out[row * h.maps * HEAD_DIM + p.column + channel] * of_douts[(size_t)query * dout.step + channel];
        }
        of_query[r] = warp_sum(sum);
        left[r] = 1.0f;
        const size_t at = row * h.maps + p.map;
        statistic[r] = statistics != 0 && query < p.queries ? statistics[at] : 1.0f;
        if (lane == 0 && query < p.queries) along[at] = of_query[r];
    }
    const Tiles tiles = tiles_of(h, p, start);
    const Span own = keys_of(h, p, start + warp * ROWS);
    for (u32 i = 0; i < tiles.count; i++) {
        const u32 tile = tile_at(h, tiles, i);
        const Span span = part_of(tile, own.first, own.end);
        const bool needed = span.first < span.end;
        float products[ROWS] = {}, dproducts[ROWS] = {};
        compare(of_keys, of_values, tile, needed, &queries[warp * ROWS], products, &douts[warp * ROWS], dproducts);
        if (CHUNKS == 1 && !needed) continue;
#pragma unroll
        for (int r = 0; r < ROWS && needed; r++) {
            const u32 query = start + warp * ROWS + r, key = tile + lane;
            Passed passed;
            if (STICKS) {
                const Piece piece = piece_of(h, p, query, key, products[r], dproducts[r]);
                const float rest = scan_after<true>(1.0f - piece.taken, lane, &left[r]);
                const float up_to = of_query[r] - scan_after<false>(piece.taken * rest * piece.dweight, lane, &later[r]);
                passed = passed_by(h, piece, rest, up_to);
                if (key % TILE == TILE - 1 && key / TILE < gridDim.z && query < p.queries)
                    carries[carry_at(h, p, query, key)] = make_float2(rest, up_to);
            } else {
                passed = passed_by(h, p, query, key, products[r], dproducts[r], statistic[r], of_query[r]);
            }
            gradients[warp][r][lane] = passed.product;
            if (LEARNED_BIAS && h.bias >= RELATIVE && query < p.queries) {
                addends[warp][lane] = passed.addend;
                __syncwarp();
                add_addends(h, addends[warp], tile, query, lane, &added[r]);
                __syncwarp();
            }
        }
        __syncwarp();
        add_tile(sums, gradients[warp], of_keys, tile, lane, span);
        __syncwarp();
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const u32 query = start + warp * ROWS + r;
        if (query >= p.queries) continue;
        const size_t row = p.first_query + query;
        if (LEARNED_BIAS && h.bias == RELATIVE) daddends[(row * BUCKETS + lane) * h.maps + p.map] = added[r];
        if (LEARNED_BIAS && h.bias == FORGET) daddends[row * h.maps + p.map] = warp_sum(added[r]);
        store(dqueries.row(row) + p.column, sums[r], lane);
    }
}

// In stick-breaking, what the keys of a warp pass back to the query of each lane. All threads of a block must call it;
// `weights` and `gradients` are shared memory through which warps exchange values, and may be overwritten afterwards.
__device__ __forceinline__ void pass_pieces(const Heads& h, const Piece* pieces, float2 carry, float* weights,
                                            float* gradients, Passed* passed) {
    const int own = threadIdx.x / 32 * ROWS, lane = threadIdx.x % 32;
    float left[ROWS], up_to[ROWS];
    for (int r = 0; r < ROWS; r++) weights[(own + r) * 32 + lane] = pieces[r].taken;
    __syncthreads();
    for (int r = 0; r < ROWS; r++) {
        left[r] = carry.x;
        for (int key = TILE - 1; key > own + r; key--) left[r] *= 1.0f - weights[key * 32 + lane];
        gradients[(own + r) * 32 + lane] = pieces[r].taken == 0.0f ? 0.0f : pieces[r].taken * left[r] * pieces[r].dweight;
    }
    __syncthreads();
    for (int r = 0; r < ROWS; r++) {
        up_to[r] = carry.y;
        for (int key = TILE - 1; key > own + r; key--) up_to[r] -= gradients[key * 32 + lane];
        passed[r] = passed_by(h, pieces[r], left[r], up_to[r]);
    }
    __syncthreads();
}

// Writes the gradients of keys and values, and of the position bias of each key, `dposition: [keys, maps]`, if there is
// one. Subtracts from those of the sums of forget gates, `daddends`, what keys have, after queries have added their part.
// A block has one head of keys, and loops over the maps that share it. `dout` is not passed as a Matrix: with one, NVRTC 13.0
// spills registers for heads of 32 channels.
extern "C" __global__ void BOUNDED
attend_backward_keys(Heads h, const float* dout, u32 dout_step, const float* statistics, const float* along, Matrix dkeys,
                     Matrix dvalues, float* daddends, float* dposition, const float2* carries) {
    __shared__ __align__(16) float keys[TILE][STEP], values[TILE][STEP], queries[32][CHUNK_STEP], douts[32][CHUNK_STEP];
    __shared__ __align__(16) float weights[WARPS][ROWS][32], gradients[WARPS][ROWS][32];
    // The shared memory that every GPU gives a block without opting in for more. No other kernel here needs
    // as much.
    static_assert(sizeof keys + sizeof values + sizeof queries + sizeof douts + sizeof weights + sizeof gradients <= 48 * 1024,
                  "a head is too wide for its tiles");
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    HeadSlice p = slice_of(h, blockIdx.x, blockIdx.y * h.group);
    const u32 start = blockIdx.z * TILE;
    if (start >= p.keys) return;
    const size_t origin = (size_t)p.first_key * h.key_step + p.key_column;
    load<STEP - 4>(keys, h.keys + origin, h.key_step, start, p.keys, TILE);
    load<STEP - 4>(values, h.values + origin, h.key_step, start, p.keys, TILE);
    float of_keys[ROWS][CHANNELS] = {}, of_values[ROWS][CHANNELS] = {};

    // If every query has a key at its own position, a window limits the queries that attend to these keys.
    const bool bounded = p.queries <= p.keys && h.window < p.queries;
    const u32 end = bounded ? min(p.queries, start + TILE - 1 + h.window) : p.queries;
    for (u32 member = 0; member < h.group; member++) {
        p = slice_of(h, blockIdx.x, blockIdx.y * h.group + member);
        const Side of_queries = {queries, h.queries + (size_t)p.first_query * h.query_step + p.column, h.query_step, p.queries};
        const Side of_douts = {douts, dout + (size_t)p.first_query * dout_step + p.column, dout_step, p.queries};
        float added[ROWS] = {}, of_position[ROWS] = {};
        for (u32 tile = start / 32 * 32; tile < end; tile += 32) {
            // Queries before a key do not attend to it.
            const Span span = part_of(tile, start + warp * ROWS, start + warp * ROWS < p.keys ? p.queries : 0);
            const bool needed = span.first < span.end;
            float products[ROWS] = {}, dproducts[ROWS] = {};
            compare(of_queries, of_douts, tile, needed, &keys[warp * ROWS], products, &values[warp * ROWS], dproducts);
            if (CHUNKS == 1 && !STICKS && !needed) continue;
            const u32 query = tile + lane;
            const bool is_query = query < p.queries;
            const size_t at = (size_t)(p.first_query + query) * h.maps + p.map;
            Passed passed[ROWS];
            if (STICKS) {
                Piece pieces[ROWS];
                for (int r = 0; r < ROWS; r++)
                    pieces[r] = piece_of(h, p, query, start + warp * ROWS + r, products[r], dproducts[r]);
                const float2 carry = is_query ? carries[carry_at(h, p, query, start)] : make_float2(0.0f, 0.0f);
                pass_pieces(h, pieces, carry, &weights[0][0][0], &gradients[0][0][0], passed);
            } else {
                const float statistic = statistics != 0 && is_query ? statistics[at] : 1.0f;
                const float of_query = is_query ? along[at] : 0.0f;
#pragma unroll
                for (int r = 0; r < ROWS; r++)
                    passed[r] = passed_by(h, p, query, start + warp * ROWS + r, products[r], dproducts[r], statistic, of_query);
            }
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                weights[warp][r][lane] = passed[r].weight;
                gradients[warp][r][lane] = passed[r].product;
                added[r] += passed[r].addend;
                // Scores with a position bias are not scaled.
                of_position[r] += passed[r].product;
            }
            __syncwarp();
            add_tile(of_values, weights[warp], of_douts, tile, lane, span);
            add_tile(of_keys, gradients[warp], of_queries, tile, lane, span);
            __syncwarp();
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const u32 key = start + warp * ROWS + r;
            const size_t at = (size_t)(p.first_key + key) * h.maps + p.map;
            if (POSITION_BIAS) {
                const float sum = warp_sum(of_position[r]);
                if (lane == 0 && key < p.keys) dposition[at] = sum;
            }
            if (LEARNED_BIAS && h.bias == FORGET) {
                const float sum = warp_sum(added[r]);
                if (lane == 0 && key < p.keys) daddends[at] -= sum;
            }
        }
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const u32 key = start + warp * ROWS + r;
        if (key >= p.keys) continue;
        store(dkeys.row(p.first_key + key) + p.key_column, of_keys[r], lane);
        store(dvalues.row(p.first_key + key) + p.key_column, of_values[r], lane);
    }
}
