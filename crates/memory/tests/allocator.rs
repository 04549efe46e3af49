//! Blocks are aligned as they are asked for, and keep their content as they grow and shrink.

#![expect(unsafe_code, reason = "an allocator is asked for blocks through its own interface")]

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, realloc};

use quintet_memory as _;

const SIZES: [usize; 16] = [1, 2, 7, 8, 9, 15, 16, 17, 24, 100, 1024, 1025, 4256, 16_385, 70_000, 3_000_000];
const ALIGNS: [usize; 9] = [1, 2, 4, 8, 16, 32, 64, 512, 4096];

#[test]
fn every_block_has_the_alignment_that_was_asked_for() {
    for align in ALIGNS {
        for size in SIZES {
            let layout = Layout::from_size_align(size, align).unwrap();
            // Several, so that not only the first block of a page is looked at.
            // SAFETY: no layout is of size zero, and each block goes back with its own.
            let blocks: Vec<*mut u8> = (0..9)
                .map(|at| unsafe { if at % 2 == 0 { alloc(layout) } else { alloc_zeroed(layout) } })
                .collect();
            for (at, block) in blocks.iter().enumerate() {
                assert!(
                    !block.is_null() && block.addr().is_multiple_of(align),
                    "{size} bytes by {align}: {block:p}"
                );
                if at % 2 == 1 {
                    // SAFETY: it has so many bytes, all of them written.
                    let bytes = unsafe { std::slice::from_raw_parts(*block, size) };
                    assert!(bytes.iter().all(|byte| *byte == 0), "{size} bytes by {align} are not zero");
                }
            }
            for block in blocks {
                // SAFETY: as above.
                unsafe { dealloc(block, layout) };
            }
        }
    }
}

#[test]
fn a_block_keeps_its_content_and_alignment_whatever_it_grows_or_shrinks_to() {
    for align in ALIGNS {
        for from in SIZES {
            for to in SIZES {
                let before = Layout::from_size_align(from, align).unwrap();
                let after = Layout::from_size_align(to, align).unwrap();
                let kept = from.min(to).min(4096);
                // SAFETY: the blocks have the sizes of their layouts, and what is read was written.
                unsafe {
                    let block = alloc(before);
                    for at in 0..kept {
                        block.add(at).write(u8::try_from(at % 251).unwrap());
                    }
                    let block = realloc(block, before, to);
                    assert!(
                        !block.is_null() && block.addr().is_multiple_of(align),
                        "{from} to {to} by {align}"
                    );
                    let bytes = std::slice::from_raw_parts(block, kept);
                    let whole = bytes.iter().enumerate().all(|(at, byte)| usize::from(*byte) == at % 251);
                    assert!(whole, "{from} to {to} bytes by {align}");
                    dealloc(block, after);
                }
            }
        }
    }
}
