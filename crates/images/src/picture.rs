//! Decoded pictures.
//!
//! A picture stays as it is stored until something small was made of it: turning one of full size upright costs another
//! copy of it.

use std::borrow::Cow;
use std::io::Cursor;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8x3, U8x4};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};
use image::metadata::Orientation;
use image::{
    DynamicImage, GenericImageView as _, ImageDecoder as _, ImageFormat, ImageReader, Limits, RgbImage,
    RgbaImage,
};
use thiserror::Error;

use crate::encode::{EncodeError, Format};
use crate::geometry::{Area, Crop, GeometryError, Plan, Resize, lies_on_its_side};
use crate::probe::{MAX_SIDE, MediaType};

/// Why nothing is made of a picture; the same input fails the same way every time.
#[derive(Debug, Error)]
pub enum PictureError {
    /// It is damaged or over the limits.
    #[error("cannot decode the picture")]
    Decode(#[source] image::ImageError),
    /// Decoded it would need more memory than it may have.
    #[error("the picture needs {0} bytes decoded, the limit is {MAX_DECODED_BYTES}")]
    TooLarge(u64),
    /// What is asked for cannot be made of it.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The resizer refused.
    #[error("cannot resize the picture: {0}")]
    Resize(String),
    /// The encoder refused.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// 50 megapixels of 8-bit RGBA and some room; 16-bit pictures of that size are refused.
const MAX_DECODED_BYTES: u64 = 256 * 1024 * 1024;

/// 8 bits, with or without transparency: what the encoders take.
#[derive(Debug, Clone)]
pub struct Picture {
    pixels: DynamicImage,
    orientation: Orientation,
}

impl Picture {
    /// Decodes a file of this format, of an animation the first frame.
    ///
    /// # Errors
    /// [`PictureError::TooLarge`] before anything is decoded, [`PictureError::Decode`] for a damaged file.
    pub fn decode(bytes: &[u8], media_type: MediaType) -> Result<Self, PictureError> {
        let format = match media_type {
            MediaType::Jpeg => ImageFormat::Jpeg,
            MediaType::Png => ImageFormat::Png,
            MediaType::Webp => ImageFormat::WebP,
        };
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        let mut limits = Limits::default();
        limits.max_image_width = Some(MAX_SIDE);
        limits.max_image_height = Some(MAX_SIDE);
        limits.max_alloc = Some(MAX_DECODED_BYTES);
        reader.limits(limits);
        let mut decoder = reader.into_decoder().map_err(PictureError::Decode)?;
        // The decoder's own limit covers what it allocates, not the picture itself.
        if decoder.total_bytes() > MAX_DECODED_BYTES {
            return Err(PictureError::TooLarge(decoder.total_bytes()));
        }
        // Damaged EXIF is no reason to refuse a picture that decodes.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let pixels = DynamicImage::from_decoder(decoder).map_err(PictureError::Decode)?;
        // These copy nothing where the pixels are so already.
        let pixels = if pixels.color().has_alpha() {
            DynamicImage::from(pixels.into_rgba8())
        } else {
            DynamicImage::from(pixels.into_rgb8())
        };
        Ok(Self { pixels, orientation })
    }

    /// Pixels across and down, as one sees it.
    pub fn size(&self) -> (u32, u32) {
        let (width, height) = self.pixels.dimensions();
        if lies_on_its_side(self.orientation) { (height, width) } else { (width, height) }
    }

    /// A part of it in another size, upright.
    ///
    /// # Errors
    /// [`PictureError::Geometry`] when this cannot be made of it.
    pub fn render(
        &self,
        crop: Option<&Crop>,
        resize: Option<&Resize>,
    ) -> Result<Cow<'_, Self>, PictureError> {
        let stored = self.pixels.dimensions();
        let plan = Plan::new(self.size(), crop, resize)?.stored(stored, self.orientation);
        if plan.size == stored
            && plan.area == Area::whole(stored)
            && self.orientation == Orientation::NoTransforms
        {
            return Ok(Cow::Borrowed(self));
        }
        let (width, height) = plan.size;
        let mut pixels = match &self.pixels {
            DynamicImage::ImageRgba8(pixels) => {
                let made = resize_into::<U8x4>(pixels.as_raw(), stored, plan)?;
                RgbaImage::from_raw(width, height, made).map(DynamicImage::from)
            }
            other => {
                let made = match other.as_rgb8() {
                    Some(pixels) => resize_into::<U8x3>(pixels.as_raw(), stored, plan)?,
                    None => resize_into::<U8x3>(other.to_rgb8().as_raw(), stored, plan)?,
                };
                RgbImage::from_raw(width, height, made).map(DynamicImage::from)
            }
        }
        .ok_or_else(|| PictureError::Resize("the result has another size than asked for".to_owned()))?;
        pixels.apply_orientation(self.orientation);
        Ok(Cow::Owned(Self { pixels, orientation: Orientation::NoTransforms }))
    }

    /// The picture as a file, with quality from 1 to 100 for formats that have one. Render it first: what is not upright is
    /// written as it is stored.
    ///
    /// # Errors
    /// [`PictureError::Encode`] when the encoder refuses.
    pub fn encode(&self, format: Format, quality: Option<u8>) -> Result<Vec<u8>, PictureError> {
        Ok(format.encode(&self.pixels, quality)?)
    }
}

/// Row-major pixels of the size `from`, of which a part gets another size.
///
/// The resizer is asked for kinds of pixel by type: its dynamic entry brings code for fourteen into the binary.
fn resize_into<P: PixelTrait>(pixels: &[u8], from: (u32, u32), plan: Plan) -> Result<Vec<u8>, PictureError> {
    let refused = |error: &dyn std::error::Error| PictureError::Resize(error.to_string());
    let source = TypedImageRef::<P>::from_buffer(from.0, from.1, pixels).map_err(|error| refused(&error))?;
    let (width, height) = plan.size;
    let mut made = vec![0; width as usize * height as usize * P::size()];
    let mut target =
        TypedImage::<P>::from_buffer(width, height, &mut made).map_err(|error| refused(&error))?;
    let Area { x, y, width, height } = plan.area;
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3))
        .crop(x, y, width, height);
    Resizer::new().resize_typed(&source, &mut target, &options).map_err(|error| refused(&error))?;
    Ok(made)
}

#[cfg(test)]
mod tests;
