//! How the five allocate and copy memory. A binary takes both with `use quintet_memory as _;`.
//!
//! musl is made to be small: its allocator takes one lock for all threads, and on `x86_64` it copies with `rep movsq`,
//! which takes longer to begin than most copies of a server take. The allocator is mimalloc everywhere; in static
//! binaries for `x86_64`, `copy.c` takes the place of musl's `memcpy`, `memmove`, `memcmp` and `bcmp`.

mod allocator;

use self::allocator::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;
