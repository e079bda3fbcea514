/* AMX-TILE and AMX-BF16 on x86-64 CPUs without them: a handler of SIGILL computes their instructions as Intel's manual describes them
 * (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2), and refuses what a CPU refuses. For tests, on Linux.
 */

#define _GNU_SOURCE
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { TILES = 8, MOST_ROWS = 16, ROW_BYTES = 64 };

static __thread struct {
    int palette;
    int rows[TILES];
    int row_bytes[TILES];
    uint8_t data[TILES][MOST_ROWS][ROW_BYTES];
} unit;

static __thread long instructions, configurations;

/* How many of them this thread has computed, of those how many were configurations, and whether tiles are configured now. */
long amx_instructions(void) { return instructions; }
long amx_configurations(void) { return configurations; }
int amx_configured(void) { return unit.palette; }

static void refuse(const char *why) {
    fprintf(stderr, "AMX: %s\n", why);
    abort();
}

static void need(int tile) {
    if (unit.palette == 0) refuse("no tiles are configured");
    if (unit.rows[tile] == 0) refuse("a tile without rows");
}

static void configure(const uint8_t *from) {
    memset(&unit, 0, sizeof unit);
    configurations++;
    if (from[0] == 0) return;
    if (from[0] != 1) refuse("there is no such palette");
    for (int n = 2; n < 16; n++)
        if (from[n]) refuse("a reserved byte is not 0");
    unit.palette = 1;
    for (int tile = 0; tile < TILES; tile++) {
        unit.row_bytes[tile] = from[16 + 2 * tile] | from[17 + 2 * tile] << 8;
        unit.rows[tile] = from[48 + tile];
        if (unit.rows[tile] > MOST_ROWS || unit.row_bytes[tile] > ROW_BYTES) refuse("a tile is too large");
        if ((unit.rows[tile] == 0) != (unit.row_bytes[tile] == 0)) refuse("a tile has rows or columns only");
    }
    for (int n = 32; n < 48; n++)
        if (from[n]) refuse("a tile that there is not has columns");
    for (int n = 56; n < 64; n++)
        if (from[n]) refuse("a tile that there is not has rows");
}

/* Numbers too small to be normal count as zeros, and become zeros. */
static float flushed(float x) { return fabsf(x) < 0x1p-126f ? copysignf(0, x) : x; }

static float widened(const uint8_t *half) {
    uint32_t bits = (uint32_t)half[0] << 16 | (uint32_t)half[1] << 24;
    float x;
    memcpy(&x, &bits, sizeof x);
    return flushed(x);
}

static void multiply(int c, int a, int b) {
    need(a), need(b), need(c);
    if (unit.rows[c] != unit.rows[a] || unit.row_bytes[c] != unit.row_bytes[b] || unit.row_bytes[a] / 4 != unit.rows[b])
        refuse("the shapes of tiles do not go together");
    if (a == b || a == c || b == c) refuse("one tile for two operands");
    for (int m = 0; m < unit.rows[c]; m++)
        for (int n = 0; n < unit.row_bytes[c] / 4; n++) {
            float even = 0, odd = 0, sum;
            for (int k = 0; k < unit.row_bytes[a] / 4; k++) {
                even = flushed(fmaf(widened(&unit.data[a][m][4 * k]), widened(&unit.data[b][k][4 * n]), even));
                odd = flushed(fmaf(widened(&unit.data[a][m][4 * k + 2]), widened(&unit.data[b][k][4 * n + 2]), odd));
            }
            memcpy(&sum, &unit.data[c][m][4 * n], sizeof sum);
            sum = flushed(flushed(sum) + flushed(even + odd));
            memcpy(&unit.data[c][m][4 * n], &sum, sizeof sum);
        }
    for (int m = unit.rows[c]; m < MOST_ROWS; m++) memset(unit.data[c][m], 0, ROW_BYTES);
}

static int64_t general_register(const ucontext_t *context, int number) {
    static const int places[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                   REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    return context->uc_mcontext.gregs[places[number]];
}

/* The address of an operand in memory, what its index register holds times its scale, and the bytes that it takes in the code. */
static int address(const ucontext_t *context, const uint8_t *at, int x, int b, int64_t *base, int64_t *stride) {
    int mode = at[0] >> 6, low = at[0] & 7, length = 1;
    *stride = 0;
    if (low == 4) {
        int sib = at[1], index = (sib >> 3 & 7) | x << 3;
        length = 2;
        if (index != 4) *stride = general_register(context, index) * (1 << (sib >> 6));
        low = sib & 7;
        if (mode == 0 && low == 5) refuse("an address without a base");
    } else if (mode == 0 && low == 5) {
        refuse("an address by the instruction pointer");
    }
    *base = general_register(context, low | b << 3);
    if (mode == 1) *base += (int8_t)at[length++];
    if (mode == 2) {
        int32_t further;
        memcpy(&further, at + length, 4);
        *base += further, length += 4;
    }
    return length;
}

static struct sigaction before;

static void handle(int number, siginfo_t *info, void *given) {
    ucontext_t *context = given;
    const uint8_t *code = (const uint8_t *)context->uc_mcontext.gregs[REG_RIP];
    if (code[0] != 0xC4 || (code[1] & 0x1F) != 2 || (code[2] & 0x84) != 0) goto other;
    int r = !(code[1] & 0x80), x = !(code[1] & 0x40), b = !(code[1] & 0x20), third = ~(code[2] >> 3) & 15, prefix = code[2] & 3;
    const uint8_t *at = code + 4;
    int in_registers = at[0] >> 6 == 3, tile = at[0] >> 3 & 7, length = 1;
    int64_t base = 0, stride = 0;
    if (r) goto other;
    if (!in_registers) length = address(context, at, x, b, &base, &stride);
    if (code[3] == 0x49 && prefix == 0 && !in_registers && tile == 0) {
        configure((const uint8_t *)base);
    } else if (code[3] == 0x49 && prefix == 0 && at[0] == 0xC0) {
        memset(&unit, 0, sizeof unit);
    } else if (code[3] == 0x49 && prefix == 3 && in_registers) {
        need(tile);
        memset(unit.data[tile], 0, sizeof unit.data[tile]);
    } else if (code[3] == 0x4B && (prefix == 3 || prefix == 1) && !in_registers) {
        need(tile);
        memset(unit.data[tile], 0, sizeof unit.data[tile]);
        for (int row = 0; row < unit.rows[tile]; row++)
            memcpy(unit.data[tile][row], (const void *)(base + row * stride), (size_t)unit.row_bytes[tile]);
    } else if (code[3] == 0x4B && prefix == 2 && !in_registers) {
        need(tile);
        for (int row = 0; row < unit.rows[tile]; row++)
            memcpy((void *)(base + row * stride), unit.data[tile][row], (size_t)unit.row_bytes[tile]);
    } else if (code[3] == 0x5C && prefix == 2 && in_registers) {
        multiply(tile, at[0] & 7, third);
    } else {
        goto other;
    }
    instructions++;
    context->uc_mcontext.gregs[REG_RIP] += 4 + length;
    return;
other:
    sigaction(SIGILL, &before, NULL); /* comes again, and is the earlier handler's */
}

/* 0 once SIGILL is handled. */
int amx_install(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    return sigaction(SIGILL, &action, &before);
}
