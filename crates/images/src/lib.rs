//! What a picture is by its bytes, and making other pictures of it. Pure computation, no I/O.
//!
//! The input is hostile: [`Probe`] reads format and size from the header before anything is decoded, and the decoder
//! works under limits on sides and memory. What is made carries no metadata of the input (position, camera, comments,
//! colour profile); the EXIF orientation is applied, so that sides and places are those of the picture as one sees it.
//!
//! [`job`] is the form in which modules and programs elsewhere ask for it.

mod encode;
mod geometry;
pub mod job;
mod picture;
mod probe;

pub use encode::{EncodeError, Format};
pub use geometry::{Crop, GeometryError, Gravity, Mode, Resize};
pub use picture::{Picture, PictureError};
pub use probe::{Header, MAX_PIXELS, MAX_SIDE, MediaType, Probe, ProbeError};
