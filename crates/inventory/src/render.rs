//! Making thumbnails: decode, shrink, turn upright, encode. Pure computation, no I/O.
//!
//! The input is hostile: the decoder works under limits on sides and memory. The output carries
//! no metadata of the input (position, camera, comments); the EXIF orientation is applied first.

use std::io::Cursor;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8x3, U8x4};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};
use image::codecs::jpeg::JpegEncoder;
use image::{
    DynamicImage, GenericImageView as _, ImageDecoder as _, ImageFormat, ImageReader, Limits, Rgb, RgbImage,
    RgbaImage,
};
use thiserror::Error;

use crate::probe::MediaType;

/// The longest side of a thumbnail, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// For lists.
    Small,
    /// For a page of its own.
    Large,
}

impl Size {
    /// Every size, the largest first: the smaller one is made from it.
    pub const ALL: [Self; 2] = [Self::Large, Self::Small];

    /// The longest side.
    pub const fn pixels(self) -> u32 {
        match self {
            Self::Small => 256,
            Self::Large => 1024,
        }
    }
}

/// How a thumbnail is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lossy WebP, for whoever can show it.
    Webp,
    /// Baseline JPEG, for everybody else; transparent parts become white.
    Jpeg,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 2] = [Self::Webp, Self::Jpeg];

    /// The name in URLs and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webp => "webp",
            Self::Jpeg => "jpeg",
        }
    }

    /// The media type's name.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Webp => "image/webp",
            Self::Jpeg => "image/jpeg",
        }
    }
}

/// One thumbnail.
#[derive(Debug)]
pub(crate) struct Thumbnail {
    pub(crate) size: Size,
    pub(crate) format: Format,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) bytes: Vec<u8>,
}

/// Why a picture cannot be shrunk; the same input fails the same way every time.
#[derive(Debug, Error)]
pub(crate) enum RenderError {
    /// The picture is damaged or over the limits.
    #[error("cannot decode the picture")]
    Decode(#[source] image::ImageError),
    /// The decoded picture would need more memory than a job may have.
    #[error("the picture needs {0} bytes decoded, the limit is {MAX_DECODED_BYTES}")]
    TooLarge(u64),
    /// The resizer refused.
    #[error("cannot shrink the picture: {0}")]
    Resize(String),
    /// The encoder refused.
    #[error("cannot encode the thumbnail: {0}")]
    Encode(String),
}

/// 50 megapixels of 8-bit RGBA and some room; 16-bit pictures of that size are refused.
const MAX_DECODED_BYTES: u64 = 256 * 1024 * 1024;
const MAX_SIDE: u32 = 16_383;

/// Good enough that artefacts are not seen at these sizes, and a third of the bytes of 95.
const WEBP_QUALITY: f32 = 80.0;
const JPEG_QUALITY: u8 = 82;

/// Makes every size in every format.
pub(crate) fn thumbnails(bytes: &[u8], media_type: MediaType) -> Result<Vec<Thumbnail>, RenderError> {
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
    let mut decoder = reader.into_decoder().map_err(RenderError::Decode)?;
    // The decoder's own limit covers what it allocates, not the picture itself.
    if decoder.total_bytes() > MAX_DECODED_BYTES {
        return Err(RenderError::TooLarge(decoder.total_bytes()));
    }
    // Damaged EXIF is no reason to refuse a picture that decodes.
    let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(RenderError::Decode)?;

    let mut made = Vec::with_capacity(Size::ALL.len() * Format::ALL.len());
    let mut upright = false;
    for size in Size::ALL {
        picture = shrink(picture, size.pixels())?;
        if !upright {
            // After the first shrinking: turning a full-size picture would cost another copy of it.
            picture.apply_orientation(orientation);
            upright = true;
        }
        for format in Format::ALL {
            let bytes = encode(&picture, format)?;
            made.push(Thumbnail { size, format, width: picture.width(), height: picture.height(), bytes });
        }
    }
    Ok(made)
}

/// Fits the picture into a square; one that already fits keeps its size.
///
/// The result has what the encoders take: 8 bits, with or without transparency. The resizer is asked for these two
/// kinds of pixel by type: its dynamic entry brings code for fourteen into the binary.
fn shrink(picture: DynamicImage, longest: u32) -> Result<DynamicImage, RenderError> {
    let (from, to) = (picture.dimensions(), fit(picture.dimensions(), longest));
    if picture.color().has_alpha() {
        let pixels = resize::<U8x4>(picture.into_rgba8().into_raw(), from, to)?;
        RgbaImage::from_raw(to.0, to.1, pixels).map(DynamicImage::from)
    } else {
        let pixels = resize::<U8x3>(picture.into_rgb8().into_raw(), from, to)?;
        RgbImage::from_raw(to.0, to.1, pixels).map(DynamicImage::from)
    }
    .ok_or_else(|| RenderError::Resize("the result has another size than asked for".to_owned()))
}

/// The sides of a picture that is at most `longest` wide and high, in the same proportion.
fn fit((width, height): (u32, u32), longest: u32) -> (u32, u32) {
    let side = width.max(height);
    if side <= longest {
        return (width, height);
    }
    let scaled = |length: u32| {
        let scaled = u64::from(length) * u64::from(longest) / u64::from(side);
        u32::try_from(scaled).unwrap_or(longest).max(1)
    };
    (scaled(width), scaled(height))
}

/// Row-major pixels of the size `from` made into those of the size `to`.
fn resize<P: PixelTrait>(pixels: Vec<u8>, from: (u32, u32), to: (u32, u32)) -> Result<Vec<u8>, RenderError> {
    if from == to {
        return Ok(pixels);
    }
    let refused = |error: &dyn std::error::Error| RenderError::Resize(error.to_string());
    let large = TypedImageRef::<P>::from_buffer(from.0, from.1, &pixels).map_err(|error| refused(&error))?;
    let mut resized = vec![0; to.0 as usize * to.1 as usize * P::size()];
    let mut small =
        TypedImage::<P>::from_buffer(to.0, to.1, &mut resized).map_err(|error| refused(&error))?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
    Resizer::new().resize_typed(&large, &mut small, &options).map_err(|error| refused(&error))?;
    Ok(resized)
}

fn encode(picture: &DynamicImage, format: Format) -> Result<Vec<u8>, RenderError> {
    match format {
        Format::Webp => webp::Encoder::from_image(picture)
            .map_err(|error| RenderError::Encode(error.to_owned()))?
            .encode_simple(false, WEBP_QUALITY)
            .map(|memory| memory.to_vec())
            .map_err(|error| RenderError::Encode(format!("{error:?}"))),
        Format::Jpeg => {
            let mut bytes = Vec::new();
            on_white(picture)
                .write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY))
                .map_err(|error| RenderError::Encode(error.to_string()))?;
            Ok(bytes)
        }
    }
}

fn on_white(picture: &DynamicImage) -> RgbImage {
    let DynamicImage::ImageRgba8(picture) = picture else { return picture.to_rgb8() };
    let blend = |colour: u8, alpha: u8| {
        let (colour, alpha) = (u32::from(colour), u32::from(alpha));
        u8::try_from((colour * alpha + 255 * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX)
    };
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [r, g, b, a] = picture.get_pixel(x, y).0;
        Rgb([blend(r, a), blend(g, a), blend(b, a)])
    })
}

#[cfg(test)]
mod tests {
    use image::{ImageEncoder as _, Rgba, RgbaImage};
    use proptest::prelude::*;

    use super::*;

    fn written(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// A minimal EXIF block: little-endian TIFF with the orientation tag alone.
    fn exif(orientation: u8) -> Vec<u8> {
        let mut block = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
        block.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
        block
    }

    #[test]
    fn every_input_format_gives_both_sizes_in_both_formats() {
        let picture = DynamicImage::new_rgb8(2000, 1000);
        for (format, media_type) in [
            (ImageFormat::Jpeg, MediaType::Jpeg),
            (ImageFormat::Png, MediaType::Png),
            (ImageFormat::WebP, MediaType::Webp),
        ] {
            let made = thumbnails(&written(&picture, format), media_type).unwrap();
            let sizes: Vec<_> = made.iter().map(|t| (t.format.as_str(), t.width, t.height)).collect();
            assert_eq!(
                sizes,
                [("webp", 1024, 512), ("jpeg", 1024, 512), ("webp", 256, 128), ("jpeg", 256, 128)]
            );
            for thumbnail in made {
                let guessed = image::guess_format(&thumbnail.bytes).unwrap();
                assert_eq!(guessed.to_mime_type(), thumbnail.format.media_type());
            }
        }
    }

    #[test]
    fn a_small_picture_is_not_blown_up() {
        let made =
            thumbnails(&written(&DynamicImage::new_rgb8(40, 30), ImageFormat::Png), MediaType::Png).unwrap();
        assert!(made.iter().all(|thumbnail| (thumbnail.width, thumbnail.height) == (40, 30)));
    }

    #[test]
    fn a_picture_lying_on_its_side_is_turned_and_its_exif_removed() {
        let picture =
            RgbImage::from_fn(200, 100, |x, _| if x < 100 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) });
        let mut bytes = Vec::new();
        let mut encoder = JpegEncoder::new(&mut bytes);
        encoder.set_exif_metadata(exif(6)).unwrap();
        encoder.encode_image(&picture).unwrap();
        assert!(bytes.windows(4).any(|window| window == b"Exif"));

        for thumbnail in thumbnails(&bytes, MediaType::Jpeg).unwrap() {
            assert_eq!((thumbnail.width, thumbnail.height), (100, 200));
            assert!(!thumbnail.bytes.windows(4).any(|window| window == b"Exif" || window == b"EXIF"));
            let upright = image::load_from_memory(&thumbnail.bytes).unwrap().to_rgb8();
            // Orientation 6: the left half of the stored picture is its top.
            let [top, bottom] = [upright.get_pixel(50, 20).0, upright.get_pixel(50, 180).0];
            assert!(top[0] > 200 && bottom[2] > 200, "{top:?} {bottom:?}");
        }
    }

    #[test]
    fn transparency_is_kept_in_webp_and_white_in_jpeg() {
        let picture = RgbaImage::from_pixel(300, 300, Rgba([200, 0, 0, 0]));
        for thumbnail in thumbnails(&written(&picture.into(), ImageFormat::Png), MediaType::Png).unwrap() {
            let decoded = image::load_from_memory(&thumbnail.bytes).unwrap();
            match thumbnail.format {
                Format::Webp => assert_eq!(decoded.to_rgba8().get_pixel(9, 9).0[3], 0),
                Format::Jpeg => assert_eq!(decoded.to_rgb8().get_pixel(9, 9).0, [255, 255, 255]),
            }
        }
    }

    #[test]
    fn a_picture_over_the_memory_limit_is_refused_before_it_is_decoded() {
        // Header of a 16-bit RGBA picture that would need 400 MB; there is no image data at all.
        let mut bytes = Vec::new();
        image::codecs::png::PngEncoder::new(&mut bytes)
            .write_image(&[0; 8], 1, 1, image::ExtendedColorType::Rgba16)
            .unwrap();
        bytes[16..24].copy_from_slice(&[0, 0, 0x1b, 0x96, 0, 0, 0x1b, 0x96]);
        let crc = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.to_be_bytes());
        assert!(matches!(thumbnails(&bytes, MediaType::Png), Err(RenderError::TooLarge(398_974_752))));
    }

    /// PNG (third edition), annex D.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8)
                .fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_damaged_picture_is_an_error_and_never_a_panic(
            position in 0usize..2000,
            value: u8,
            media_type in prop::sample::select(vec![MediaType::Jpeg, MediaType::Png, MediaType::Webp]),
        ) {
            let format = match media_type {
                MediaType::Jpeg => ImageFormat::Jpeg,
                MediaType::Png => ImageFormat::Png,
                MediaType::Webp => ImageFormat::WebP,
            };
            let mut bytes = written(&DynamicImage::new_rgb8(64, 64), format);
            let position = position % bytes.len();
            bytes[position] = value;
            let _ = thumbnails(&bytes, media_type);
        }
    }
}
