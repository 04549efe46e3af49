// Makes a screenshot small: at most 256 colours, each an index into a palette (PNG, sections 5, 9 and 11.2). Reads what
// Chromium writes: eight bits a channel, RGB or RGBA, not interlaced.

import assert from "node:assert/strict";
import { crc32, deflateSync, inflateSync } from "node:zlib";

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const COLOURS = 256;
/** So many bits of a channel tell colours apart when the commonest are looked for. */
const BITS = 5;

export function withFewColours(png) {
  const { width, height, channels, pixels } = read(png);
  const { palette, nearest } = choose(pixels, channels);
  const rows = Buffer.alloc(height * (width + 1));
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      rows[y * (width + 1) + 1 + x] = nearest((y * width + x) * channels);
    }
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 3, 0, 0, 0], 8);
  const data = deflateSync(rows, { level: 9 });
  return Buffer.concat([SIGNATURE, chunk("IHDR", header), chunk("PLTE", Buffer.from(palette.flat())), chunk("IDAT", data), chunk("IEND", Buffer.alloc(0))]);
}

function read(png) {
  assert.ok(png.subarray(0, 8).equals(SIGNATURE), "this is no PNG");
  const data = [];
  let header = png;
  for (let at = 8; at < png.length; at += 12 + png.readUInt32BE(at)) {
    const body = png.subarray(at + 8, at + 8 + png.readUInt32BE(at));
    const kind = png.toString("latin1", at + 4, at + 8);
    if (kind === "IHDR") header = body;
    if (kind === "IDAT") data.push(body);
  }
  const [width, height, depth, colour, interlaced] = [header.readUInt32BE(0), header.readUInt32BE(4), header[8], header[9], header[12]];
  assert.ok(depth === 8 && (colour === 2 || colour === 6) && interlaced === 0, "eight bits a channel, RGB or RGBA, not interlaced");
  const channels = colour === 2 ? 3 : 4;
  return { width, height, channels, pixels: unfiltered(inflateSync(Buffer.concat(data)), width * channels, height, channels) };
}

function unfiltered(rows, stride, height, channels) {
  const pixels = Buffer.alloc(stride * height);
  for (let y = 0; y < height; y += 1) {
    const filter = rows[y * (stride + 1)];
    for (let x = 0; x < stride; x += 1) {
      const at = y * stride + x;
      const left = x >= channels ? pixels[at - channels] : 0;
      const above = y > 0 ? pixels[at - stride] : 0;
      const corner = x >= channels && y > 0 ? pixels[at - stride - channels] : 0;
      const guess = [0, left, above, (left + above) >> 1, paeth(left, above, corner)][filter];
      pixels[at] = rows[y * (stride + 1) + 1 + x] + guess;
    }
  }
  return pixels;
}

function paeth(left, above, corner) {
  const estimate = left + above - corner;
  const [toLeft, toAbove, toCorner] = [left, above, corner].map((value) => Math.abs(estimate - value));
  if (toLeft <= toAbove && toLeft <= toCorner) return left;
  return toAbove <= toCorner ? above : corner;
}

/** The commonest colours, and which of them is nearest to the one of a pixel. */
function choose(pixels, channels) {
  const exact = new Map();
  const rough = new Map();
  for (let at = 0; at < pixels.length; at += channels) {
    const colour = (pixels[at] << 16) | (pixels[at + 1] << 8) | pixels[at + 2];
    exact.set(colour, (exact.get(colour) ?? 0) + 1);
  }
  const shift = 8 - BITS;
  const bucket = (colour) => ((colour >> 16) >> shift) * 65_536 + (((colour >> 8) & 255) >> shift) * 256 + ((colour & 255) >> shift);
  for (const [colour, count] of exact) {
    const known = rough.get(bucket(colour));
    // The commonest exact colour stands for its bucket, so that surfaces keep theirs.
    if (known) rough.set(bucket(colour), { colour: count > known.most ? colour : known.colour, most: Math.max(count, known.most), all: known.all + count });
    else rough.set(bucket(colour), { colour, most: count, all: count });
  }
  const palette = [...rough.values()]
    .sort((left, right) => right.all - left.all)
    .slice(0, COLOURS)
    .map(({ colour }) => [colour >> 16, (colour >> 8) & 255, colour & 255]);
  const known = new Map(palette.map(([red, green, blue], index) => [(red << 16) | (green << 8) | blue, index]));
  const nearest = (at) => {
    const [red, green, blue] = [pixels[at], pixels[at + 1], pixels[at + 2]];
    const colour = (red << 16) | (green << 8) | blue;
    const found = known.get(colour);
    if (found !== undefined) return found;
    const far = palette.map((one) => (one[0] - red) ** 2 + (one[1] - green) ** 2 + (one[2] - blue) ** 2);
    const index = far.indexOf(Math.min(...far));
    known.set(colour, index);
    return index;
  };
  return { palette, nearest };
}

function chunk(kind, body) {
  const name = Buffer.from(kind, "latin1");
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(Buffer.concat([name, body])));
  return Buffer.concat([length, name, body, sum]);
}
