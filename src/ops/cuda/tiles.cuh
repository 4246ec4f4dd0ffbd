// Tiles of the rows of a head over a document: how they come into shared memory, and their products.
//
// A warp has a few rows of one side (queries, or keys in their backward pass), and each lane one row of a
// tile of 32 of the other side. Of a wide head a block has only some channels of these at a time.

#define ROWS (HEAD_DIM <= 64 ? 4 : HEAD_DIM <= 96 ? 2 : 1)
#define TILE (WARPS * ROWS)

// Channels of the other side at a time, and how many times.
#define CHUNK (HEAD_DIM <= 128 ? WHOLE : 32)
#define CHUNKS ((WHOLE + CHUNK - 1) / CHUNK)
// Padded by four beyond whole vectors, so that the rows of eight lanes fall into different banks.
#define STEP (CHUNKS * CHUNK + 4)
#define CHUNK_STEP (CHUNK + 4)
// Channels of a row per lane.
#define CHANNELS (CHUNKS * PER_LANE(CHUNK))

// One map over one document: where its rows start, and how many there are.
struct HeadSlice {
    u32 map, column, key_column;
    u32 first_query, queries, first_key, keys;
    float slope;
};

__device__ HeadSlice slice_of(const Heads& h, u32 document, u32 map) {
    HeadSlice p;
    p.map = map;
    p.column = map * HEAD_DIM;
    p.key_column = map / h.group * HEAD_DIM;
    p.first_query = h.query_starts[document];
    p.queries = h.query_starts[document + 1] - p.first_query;
    p.first_key = h.key_starts[document];
    p.keys = h.key_starts[document + 1] - p.first_key;
    p.slope = slope_of(h, map);
    return p;
}

// Loads the channels from `offset` on of `rows` rows from `first` on, of `count` in total, into shared memory; zeros
// beyond. `COLUMNS` channels are followed by four of padding.
template <int COLUMNS>
__device__ __forceinline__ void load(float (*to)[COLUMNS + 4], const float* from, int step, u32 first, u32 count, u32 rows,
                                     u32 offset = 0) {
#if HEAD_DIM % 4 == 0
    // Heads that lie side by side are aligned to vectors if the rows are.
    if (step % 4 == 0) {
        for (u32 i = threadIdx.x; i < rows * (COLUMNS / 4); i += WARPS * 32) {
            const u32 row = i / (COLUMNS / 4), channel = i % (COLUMNS / 4) * 4;
            const bool there = first + row < count && offset + channel < HEAD_DIM;
            const float4 nothing = {0.0f, 0.0f, 0.0f, 0.0f};
            const float* at = from + (long long)(first + row) * step + offset + channel;
            *(float4*)&to[row][channel] = there ? *(const float4*)at : nothing;
        }
        return;
    }
#endif
    for (u32 i = threadIdx.x; i < rows * COLUMNS; i += blockDim.x) {
        const u32 row = i / COLUMNS, channel = i % COLUMNS;
        const bool there = first + row < count && offset + channel < HEAD_DIM;
        to[row][channel] = there ? from[(long long)(first + row) * step + offset + channel] : 0.0f;
    }
}

// products[r] += own · others[r], over a chunk of channels: for a row of this lane, and ROWS rows that all lanes read,
// from their channel `offset` on.
__device__ __forceinline__ void add_products(const float* own, float (*others)[STEP], u32 offset, float* products) {
#pragma unroll
    for (int c = 0; c < CHUNK; c += 4) {
        const float4 x = *(const float4*)(own + c);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const float4 y = *(const float4*)&others[r][offset + c];
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

// to[r][i] += Σ_j weights[r][j] * rows[j][channel of lane and i], over a tile of 32, for a chunk of channels; weights
// beyond the span are 0.
__device__ __forceinline__ void add_weighted(float (*to)[CHANNELS], float (*weights)[32], float (*rows)[CHUNK_STEP], u32 lane,
                                             Span span, u32 chunk) {
#pragma unroll
    for (int i = 0; i < PER_LANE(CHUNK); i++) {
        const u32 channel = lane + 32 * i;
        if (channel >= CHUNK) continue;
#pragma unroll
        for (int j = 0; j < 32; j += 4) {
            if (j + 4 <= span.first || j >= span.end) continue;
            const float a = rows[j][channel], b = rows[j + 1][channel];
            const float c = rows[j + 2][channel], d = rows[j + 3][channel];
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                const float4 w = *(const float4*)&weights[r][j];
                to[r][chunk * PER_LANE(CHUNK) + i] += w.x * a + w.y * b + w.z * c + w.w * d;
            }
        }
    }
}

// The rows of one side of a document, and where a chunk of a tile of them is in shared memory.
struct Side {
    float (*rows)[CHUNK_STEP];
    const float* from;
    u32 step, count;
};

// Loads a chunk of a tile. All threads of a block must call it.
__device__ __forceinline__ void load_chunk(const Side& side, u32 tile, u32 chunk) {
    load<CHUNK>(side.rows, side.from, side.step, tile, side.count, 32, chunk * CHUNK);
}

// Adds to `products` those of this lane's row of a tile of `one` with a warp's rows, if the warp needs them, and to
// `further` those of `two`; without `further`, `two` is loaded if it stays. All threads of a block must call it.
__device__ __forceinline__ void compare(const Side& one, const Side& two, u32 tile, bool needed, float (*own)[STEP],
                                        float* products, float (*own_two)[STEP] = 0, float* further = 0) {
    const u32 lane = threadIdx.x % 32;
    for (u32 chunk = 0; chunk < CHUNKS; chunk++) {
        __syncthreads();
        load_chunk(one, tile, chunk);
        if (further || CHUNKS == 1) load_chunk(two, tile, chunk);
        __syncthreads();
        if (!needed) continue;
        add_products(one.rows[lane], own, chunk * CHUNK, products);
        if (further) add_products(two.rows[lane], own_two, chunk * CHUNK, further);
    }
}

// Writes the channels of a row, of which each lane has some, divided by `divisor`.
__device__ __forceinline__ void store(float* to, const float* channels, u32 lane, float divisor = 1.0f) {
#pragma unroll
    for (int i = 0; i < CHANNELS; i++)
        if (lane + 32 * i < HEAD_DIM) to[lane + 32 * i] = channels[i] / divisor;
}

// `add_weighted` for all channels, given that the tile is in shared memory if a chunk has all of its channels. All
// threads of a block must call it if it has not.
__device__ __forceinline__ void add_tile(float (*to)[CHANNELS], float (*weights)[32], const Side& side, u32 tile, u32 lane,
                                         Span span) {
#pragma unroll
    for (int chunk = 0; chunk < CHUNKS; chunk++) {
        if (CHUNKS > 1) {
            __syncthreads();
            load_chunk(side, tile, chunk);
            __syncthreads();
        }
        add_weighted(to, weights, side.rows, lane, span, chunk);
    }
}

// Whether a query attends to a key. Its last key is at its own position, or the last there is.
__device__ __forceinline__ bool sees(const Heads& h, const HeadSlice& p, u32 query, u32 key) {
    const u32 last = min(query, p.keys - 1);
    return query < p.queries && key + h.hidden <= last && key >= first_key_of(last, h.window);
}

// The keys that a warp's queries attend to; `first` is its first query.
__device__ __forceinline__ Span keys_of(const Heads& h, const HeadSlice& p, u32 first) {
    if (first >= p.queries) return {0, 0};
    const u32 end = min(min(first + ROWS, p.queries), p.keys);
    return {first_key_of(min(first, p.keys - 1), h.window), end};
}

__device__ __forceinline__ u32 drop_index(const Heads& h, const HeadSlice& p, u32 query, u32 key) {
    return drop_index(h, p.first_query + query, p.map, key);
}

// What is added to the score of a key.
__device__ __forceinline__ float addend_of(const Heads& h, const HeadSlice& p, u32 key, u32 last) {
    return addend_of(h, p.map, p.slope, p.first_key, key, last);
}
