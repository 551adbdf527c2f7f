// The masks of csrc/kernels/dropout.h, bit for bit: Philox4x32-10 (Salmon et al. 2011) of the key of a sequence, the site and the
// place in the sequence, 16 bits an element.
//
// A group of 128 elements of a row takes 16 counters; element 16·k + l of it has half k % 2 of word k / 2 of counter l. A lane
// holds eight neighbouring elements and a warp two groups: each lane computes one counter, and eight ballots bring the bits to the
// lanes that need them. That is one Philox call for eight elements.
#pragma once
#include "lane.h"

struct Dropout {
  const i64 *keys;    // one a sequence; unused when threshold is 0
  u32 rows_of_a_key;  // rows of a sequence
  u32 site;           // which dropout of the model
  u32 threshold;      // an element is dropped when its 16 bits are below it; 0: no dropout
  float scale;        // of what is kept
};

// What the bits of a row are a function of.
struct MaskRow {
  u64 key;
  u32 group; // the first of the row in its sequence
};

DEVICE MaskRow mask_row(const Dropout &dropout, u32 row, u32 width) {
  if (dropout.threshold == 0) {
    return {0, 0};
  }
  const u32 sequence = row / dropout.rows_of_a_key, place = row - sequence * dropout.rows_of_a_key;
  return {(u64)dropout.keys[sequence], place * ((width + 127) / 128)};
}

DEVICE void philox(u64 key, u32 counter, u32 site, u32 words[4]) {
  u32 c0 = counter, c1 = site, c2 = 0, c3 = 0, k0 = (u32)key, k1 = (u32)(key >> 32);
  UNROLL
  for (int round = 0; round < 10; ++round) {
    const u64 first = (u64)0xD2511F53u * c0, second = (u64)0xCD9E8D57u * c2;
    c0 = (u32)(second >> 32) ^ c1 ^ k0;
    c1 = (u32)second;
    c2 = (u32)(first >> 32) ^ c3 ^ k1;
    c3 = (u32)first;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  words[0] = c0, words[1] = c1, words[2] = c2, words[3] = c3;
}

// The factors of this lane's eight of the 256 columns from `first`. All lanes of the warp take part, those past the width too.
DEVICE void factors(const Dropout &dropout, const MaskRow &row, u32 first, float out[8]) {
  if (dropout.threshold == 0) {
    UNROLL
    for (int j = 0; j < 8; ++j) {
      out[j] = 1.0f;
    }
    return;
  }
  const u32 lane = threadIdx.x % 32;
  u32 words[4];
  philox(row.key, 16 * (row.group + first / 128 + lane / 16) + lane % 16, dropout.site, words);
  // Ballot k is of elements 16·k to 16·k + 15 of both groups; this lane's eight are in ballot lane % 16 / 2.
  u32 mine = 0;
  UNROLL
  for (u32 k = 0; k < 8; ++k) {
    const u32 bits = k % 2 == 0 ? words[k / 2] & 0xffff : words[k / 2] >> 16;
    const u32 kept = __ballot_sync(ALL_LANES, bits >= dropout.threshold);
    mine = lane % 16 / 2 == k ? kept : mine;
  }
  mine >>= lane / 16 * 16 + lane % 2 * 8;
  UNROLL
  for (int j = 0; j < 8; ++j) {
    out[j] = (mine >> j & 1) != 0 ? dropout.scale : 0.0f;
  }
}
