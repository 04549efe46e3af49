//! The formats that pictures are written in.

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{DynamicImage, Rgb, RgbImage};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How a picture is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Lossy WebP.
    Webp,
    /// Baseline JPEG; transparent parts become white.
    Jpeg,
    /// PNG, which loses nothing and has no quality.
    Png,
}

/// An encoder refused.
#[derive(Debug, Error)]
#[error("cannot encode the picture: {0}")]
pub struct EncodeError(String);

/// Good enough that artefacts are not seen, and a third of the bytes of 95.
const WEBP_QUALITY: u8 = 80;
const JPEG_QUALITY: u8 = 82;

impl Format {
    /// The media type's name.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Webp => "image/webp",
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
        }
    }

    /// The quality that is used when none is asked for; none where there is no such choice.
    pub const fn default_quality(self) -> Option<u8> {
        match self {
            Self::Webp => Some(WEBP_QUALITY),
            Self::Jpeg => Some(JPEG_QUALITY),
            Self::Png => None,
        }
    }

    /// Writes 8-bit pixels, with or without transparency. Nothing but pixels is written.
    pub(crate) fn encode(self, pixels: &DynamicImage, quality: Option<u8>) -> Result<Vec<u8>, EncodeError> {
        let quality = quality.or(self.default_quality()).unwrap_or_default().clamp(1, 100);
        match self {
            Self::Webp => webp(pixels, quality),
            Self::Jpeg => jpeg(pixels, quality),
            Self::Png => png(pixels),
        }
    }
}

fn jpeg(pixels: &DynamicImage, quality: u8) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::new();
    on_white(pixels)
        .write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, quality))
        .map_err(|error| EncodeError(error.to_string()))?;
    Ok(bytes)
}

fn png(pixels: &DynamicImage) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::new();
    // The best compression takes ten times as long for a few percent.
    let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::Adaptive);
    pixels.write_with_encoder(encoder).map_err(|error| EncodeError(error.to_string()))?;
    Ok(bytes)
}

fn webp(pixels: &DynamicImage, quality: u8) -> Result<Vec<u8>, EncodeError> {
    webp::Encoder::from_image(pixels)
        .map_err(|error| EncodeError(error.to_owned()))?
        .encode_simple(false, quality.into())
        .map(|memory| memory.to_vec())
        .map_err(|error| EncodeError(format!("{error:?}")))
}

fn on_white(pixels: &DynamicImage) -> RgbImage {
    let DynamicImage::ImageRgba8(pixels) = pixels else { return pixels.to_rgb8() };
    let blend = |colour: u8, alpha: u8| {
        let (colour, alpha) = (u32::from(colour), u32::from(alpha));
        u8::try_from((colour * alpha + 255 * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX)
    };
    RgbImage::from_fn(pixels.width(), pixels.height(), |x, y| {
        let [r, g, b, a] = pixels.get_pixel(x, y).0;
        Rgb([blend(r, a), blend(g, a), blend(b, a)])
    })
}
