use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::{ImageEncoder as _, Rgb, Rgba};
use proptest::prelude::*;

use super::*;
use crate::geometry::Gravity;

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

/// Every pixel says where it is.
fn map(width: u32, height: u32) -> DynamicImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([u8::try_from(x).unwrap(), u8::try_from(y).unwrap(), 0]))
        .into()
}

const ORIENTATIONS: [Orientation; 8] = [
    Orientation::NoTransforms,
    Orientation::Rotate90,
    Orientation::Rotate180,
    Orientation::Rotate270,
    Orientation::FlipHorizontal,
    Orientation::FlipVertical,
    Orientation::Rotate90FlipH,
    Orientation::Rotate270FlipH,
];

#[test]
fn a_crop_is_of_the_picture_as_one_sees_it_however_it_is_stored() {
    for orientation in ORIENTATIONS {
        let mut upright = map(40, 30);
        upright.apply_orientation(orientation);
        let stored = Picture { pixels: map(40, 30), orientation };
        assert_eq!(stored.size(), upright.dimensions(), "{orientation:?}");
        let crop = Crop { width: 7, height: 5, x: Some(11), y: Some(3), gravity: None };
        let cropped = stored.render(Some(&crop), None).unwrap();
        assert_eq!(cropped.pixels, upright.crop_imm(11, 3, 7, 5), "{orientation:?}");
        let whole = stored.render(None, None).unwrap();
        assert_eq!(whole.pixels, upright, "{orientation:?}");
    }
}

#[test]
fn sides_are_those_of_the_picture_as_one_sees_it() {
    for orientation in ORIENTATIONS {
        let stored = Picture { pixels: map(200, 100), orientation };
        let exact = Resize { mode: crate::Mode::Exact, ..Resize::within(1) };
        let exact = Resize { width: Some(30), height: Some(20), ..exact };
        assert_eq!(stored.render(None, Some(&exact)).unwrap().size(), (30, 20), "{orientation:?}");
        let within = stored.render(None, Some(&Resize::within(50))).unwrap().size();
        let upright = if lies_on_its_side(orientation) { (25, 50) } else { (50, 25) };
        assert_eq!(within, upright, "{orientation:?}");
    }
}

#[test]
fn fill_keeps_the_part_that_gravity_names() {
    let mut halves = RgbImage::from_pixel(200, 100, Rgb([255, 0, 0]));
    for (_, _, pixel) in halves.enumerate_pixels_mut().filter(|(x, _, _)| *x >= 100) {
        *pixel = Rgb([0, 0, 255]);
    }
    let picture = Picture { pixels: halves.into(), orientation: Orientation::NoTransforms };
    for (gravity, colour) in [(Gravity::West, 0), (Gravity::East, 2)] {
        let fill = Resize { mode: crate::Mode::Fill, gravity, ..Resize::within(50) };
        let made = picture.render(None, Some(&fill)).unwrap();
        assert_eq!(made.size(), (50, 50));
        let middle = made.pixels.to_rgb8().get_pixel(25, 25).0;
        assert_eq!(middle[colour], 255, "{gravity:?}: {middle:?}");
    }
}

#[test]
fn a_picture_lying_on_its_side_is_turned_and_its_exif_removed() {
    let picture =
        RgbImage::from_fn(200, 100, |x, _| if x < 100 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) });
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new(&mut bytes);
    encoder.set_exif_metadata(exif(6)).unwrap();
    encoder.set_icc_profile(b"a profile".to_vec()).unwrap();
    encoder.encode_image(&picture).unwrap();
    let holds = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
    assert!(holds(&bytes, b"Exif") && holds(&bytes, b"a profile"));

    let decoded = Picture::decode(&bytes, MediaType::Jpeg).unwrap();
    for format in [Format::Webp, Format::Jpeg, Format::Png] {
        let made = decoded.render(None, Some(&Resize::within(200))).unwrap().encode(format, None).unwrap();
        for what in [&b"Exif"[..], b"EXIF", b"eXIf", b"a profile", b"iCCP", b"ICCP"] {
            assert!(!holds(&made, what), "{format:?} {what:?}");
        }
        let upright = image::load_from_memory(&made).unwrap().to_rgb8();
        assert_eq!(upright.dimensions(), (100, 200));
        // Orientation 6: the left half of the stored picture is its top.
        let [top, bottom] = [upright.get_pixel(50, 20).0, upright.get_pixel(50, 180).0];
        assert!(top[0] > 200 && bottom[2] > 200, "{format:?} {top:?} {bottom:?}");
    }
}

#[test]
fn transparency_is_kept_but_in_jpeg_where_it_becomes_white() {
    let picture = RgbaImage::from_pixel(300, 300, Rgba([200, 0, 0, 0]));
    let picture = Picture::decode(&written(&picture.into(), ImageFormat::Png), MediaType::Png).unwrap();
    for format in [Format::Webp, Format::Png, Format::Jpeg] {
        let small = picture.render(None, Some(&Resize::within(30))).unwrap();
        let bytes = small.encode(format, None).unwrap();
        assert_eq!(image::guess_format(&bytes).unwrap().to_mime_type(), format.media_type());
        let decoded = image::load_from_memory(&bytes).unwrap();
        if format == Format::Jpeg {
            assert_eq!(decoded.to_rgb8().get_pixel(9, 9).0, [255, 255, 255]);
        } else {
            assert_eq!(decoded.to_rgba8().get_pixel(9, 9).0[3], 0, "{format:?}");
        }
    }
}

#[test]
fn quality_decides_the_size_of_what_loses_something() {
    let noise = RgbImage::from_fn(200, 200, |x, y| {
        let byte = |n: u32| n.wrapping_mul(2_654_435_761).to_be_bytes()[0];
        Rgb([byte(x * 201 + y), byte(x + y * 307), byte(x * y)])
    });
    let picture = Picture { pixels: noise.into(), orientation: Orientation::NoTransforms };
    let size = |format, quality| picture.encode(format, quality).unwrap().len();
    for format in [Format::Webp, Format::Jpeg] {
        assert!(size(format, Some(20)) < size(format, None) && size(format, None) < size(format, Some(98)));
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
    let refused = Picture::decode(&bytes, MediaType::Png);
    assert!(matches!(refused, Err(PictureError::TooLarge(398_974_752))));
}

/// PNG (third edition), annex D.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
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
        if let Ok(picture) = Picture::decode(&bytes, media_type) {
            let _ = picture.render(None, Some(&Resize::within(20)));
        }
    }

    #[test]
    fn whatever_is_asked_for_is_made_or_refused(
        (width, height) in (1u32..60, 1u32..60),
        (to_width, to_height) in (prop::option::of(0u32..90), prop::option::of(0u32..90)),
        mode in prop::sample::select(vec![crate::Mode::Fit, crate::Mode::Fill, crate::Mode::Exact]),
        gravity in prop::sample::select(vec![Gravity::Center, Gravity::NorthWest, Gravity::SouthEast]),
        enlarge: bool,
        orientation in prop::sample::select(ORIENTATIONS.to_vec()),
        crop in prop::option::of((1u32..60, 1u32..60)),
    ) {
        let picture = Picture { pixels: map(width, height), orientation };
        let resize = Resize { width: to_width, height: to_height, mode, gravity, enlarge };
        let crop = crop.map(|(width, height)| Crop { width, height, x: None, y: None, gravity: Some(gravity) });
        if let Ok(made) = picture.render(crop.as_ref(), Some(&resize)) {
            let (width, height) = made.size();
            prop_assert!(to_width.is_none_or(|most| width <= most));
            prop_assert!(to_height.is_none_or(|most| height <= most));
            prop_assert!(width > 0 && height > 0);
        } else {
            prop_assert!(resize.check().is_err(), "{resize:?} of {width}x{height}");
        }
    }
}
