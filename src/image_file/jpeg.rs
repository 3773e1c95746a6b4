//! JPEG: a walk through every entropy-coded bit before the pixels are decoded.
//!
//! Decoders fill what is missing with grey and report success. The walk decodes the Huffman codes of each scan (baseline, extended sequential and
//! progressive; ITU T.81, annexes F and G) without computing pixels, so a scan that ends early, an invalid code or a restart marker out of order is an
//! error here. What the decoder gets afterwards has the segments that matter for pixels only: unusual metadata cannot stop it.

use super::huffman::{Bits, Ended, Huffman};

/// Blocks of all components: a frame of more is no photo.
const MAX_BLOCKS: u64 = 1 << 26;

/// A JPEG whose scans are complete.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// The same image without metadata.
    pub(super) stream: Vec<u8>,
    /// Payload of the first Exif segment, without its name.
    pub(super) exif: Option<Vec<u8>>,
    /// Payload of the first XMP segment, without its name.
    pub(super) xmp: Option<Vec<u8>>,
}

/// Width and height of the frame, before anything else is looked at.
///
/// # Errors
/// What is missing.
pub(super) fn dimensions(bytes: &[u8]) -> Result<(u32, u32), String> {
    let mut reader = Segments::new(bytes)?;
    while let Some((marker, payload)) = reader.next()? {
        if is_frame(marker) {
            let frame = Frame::parse(marker, payload)?;
            return Ok((frame.width, frame.height));
        }
        if marker == SOS {
            break;
        }
    }
    Err("a JPEG without a frame".into())
}

/// Checks every scan.
///
/// # Errors
/// What is missing or damaged, and where.
pub(super) fn scan(bytes: &[u8]) -> Result<Scanned, String> {
    let mut reader = Segments::new(bytes)?;
    let mut out = Scanned {
        stream: vec![0xFF, SOI],
        ..Scanned::default()
    };
    let mut state = State::default();
    while let Some((marker, payload)) = reader.next()? {
        match marker {
            EOI => {
                if state.complete.is_empty() || state.complete.iter().any(|done| *done != u64::MAX) {
                    return Err("scans are missing: the image ends before it is complete".into());
                }
                out.stream.extend([0xFF, EOI]);
                return Ok(out);
            }
            DHT => state.huffman(payload)?,
            DRI => match payload {
                &[a, b, ..] => state.restart_interval = usize::from(u16::from_be_bytes([a, b])),
                _ => return Err("a short DRI segment".into()),
            },
            SOS => {
                let first = reader.at;
                reader.at = state.scan(payload, bytes, first)?;
                out.segment(marker, payload);
                out.stream.extend_from_slice(&bytes[first..reader.at]);
                continue;
            }
            0xE1 if out.exif.is_none() && payload.starts_with(b"Exif\0") => {
                out.exif = Some(payload.get(6..).unwrap_or_default().to_vec());
            }
            0xE1 if out.xmp.is_none() && payload.starts_with(XMP) => {
                out.xmp = Some(payload[XMP.len()..].to_vec());
            }
            _ if is_frame(marker) => {
                if state.frame.is_some() {
                    return Err("two frames: hierarchical JPEG is not read".into());
                }
                state.frame(Frame::parse(marker, payload)?)?;
            }
            _ => {}
        }
        let is_jfif = marker == 0xE0 && payload.starts_with(b"JFIF\0");
        let is_adobe = marker == 0xEE && payload.starts_with(b"Adobe");
        if is_frame(marker) || matches!(marker, DQT | DHT | DRI) || is_jfif || is_adobe {
            out.segment(marker, payload);
        }
    }
    Err(format!(
        "the file ends after {} bytes without an end-of-image marker",
        bytes.len()
    ))
}

impl Scanned {
    fn segment(&mut self, marker: u8, payload: &[u8]) {
        let length = (payload.len() + 2) as u16;
        self.stream.extend([0xFF, marker]);
        self.stream.extend(length.to_be_bytes());
        self.stream.extend_from_slice(payload);
    }
}

const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;
const DQT: u8 = 0xDB;
const DHT: u8 = 0xC4;
const DRI: u8 = 0xDD;

/// SOF0 to SOF15, without DHT, JPG and DAC, which lie between them.
fn is_frame(marker: u8) -> bool {
    (0xC0..=0xCF).contains(&marker) && !matches!(marker, DHT | 0xC8 | 0xCC)
}

/// Marker segments in order.
struct Segments<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Segments<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, String> {
        match bytes.starts_with(&[0xFF, SOI]) {
            true => Ok(Self { bytes, at: 2 }),
            false => Err("no start-of-image marker".into()),
        }
    }

    /// The next marker and its payload; `None` at the end of the file. Fill bytes, and bytes between segments, are skipped as libjpeg does.
    fn next(&mut self) -> Result<Option<(u8, &'a [u8])>, String> {
        loop {
            let Some(ff) = self.bytes[self.at..].iter().position(|&b| b == 0xFF) else {
                return Ok(None);
            };
            self.at += ff + 1;
            match self.bytes.get(self.at) {
                None => return Ok(None),
                Some(0xFF) => {}
                Some(0) => self.at += 1,
                Some(&marker) => {
                    self.at += 1;
                    // Without a payload: TEM, restart markers, start and end.
                    if marker == 0x01 || (0xD0..=EOI).contains(&marker) {
                        if marker == EOI {
                            return Ok(Some((marker, &[])));
                        }
                        continue;
                    }
                    let (start, rest) = (self.at, &self.bytes[self.at..]);
                    let length = match rest {
                        &[a, b, ..] => usize::from(u16::from_be_bytes([a, b])),
                        _ => return Ok(None),
                    };
                    if length < 2 {
                        return Err(format!("segment {marker:02X} has a length of {length}"));
                    }
                    if length > rest.len() {
                        return Ok(None);
                    }
                    self.at = start + length;
                    return Ok(Some((marker, &rest[2..length])));
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Component {
    id: u8,
    h: u32,
    v: u32,
}

#[derive(Debug)]
struct Frame {
    progressive: bool,
    width: u32,
    height: u32,
    components: Vec<Component>,
}

impl Frame {
    fn parse(marker: u8, payload: &[u8]) -> Result<Self, String> {
        let kind = match marker {
            0xC0..=0xC2 => marker,
            0xC3 => return Err("a lossless JPEG, which is not read".into()),
            0xC9..=0xCF => return Err("an arithmetic-coded JPEG, which is not read".into()),
            _ => return Err("a hierarchical JPEG, which is not read".into()),
        };
        let &[precision, h1, h0, w1, w0, n, ref rest @ ..] = payload else {
            return Err("a short frame header".into());
        };
        if precision != 8 {
            return Err(format!("a JPEG of {precision} bits a sample; 8 are read"));
        }
        let (width, height) = (u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]));
        let n = usize::from(n);
        if width == 0 || height == 0 || !matches!(n, 1 | 3 | 4) || rest.len() < 3 * n {
            return Err(format!("a frame of {width} x {height} with {n} components"));
        }
        let component = |c: &[u8]| Component {
            id: c[0],
            h: u32::from(c[1] >> 4),
            v: u32::from(c[1] & 15),
        };
        let mut components: Vec<Component> = rest[..3 * n].chunks_exact(3).map(component).collect();
        if components
            .iter()
            .any(|c| !(1..=4).contains(&c.h) || !(1..=4).contains(&c.v))
        {
            return Err("sampling factors out of 1 to 4".into());
        }
        if let [only] = &mut components[..] {
            // Its blocks follow each other whatever its factors say.
            (only.h, only.v) = (1, 1);
        }
        Ok(Self {
            progressive: kind == 0xC2,
            width: width.into(),
            height: height.into(),
            components,
        })
    }

    fn max(&self) -> (u32, u32) {
        let side = |of: fn(&Component) -> u32| self.components.iter().map(of).max().unwrap_or(1);
        (side(|c| c.h), side(|c| c.v))
    }

    fn mcus(&self) -> (u32, u32) {
        let (h, v) = self.max();
        (self.width.div_ceil(8 * h), self.height.div_ceil(8 * v))
    }

    /// Blocks of a component in a scan of its own: columns and rows.
    fn blocks(&self, c: &Component) -> (u32, u32) {
        let (h, v) = self.max();
        let side = |length: u32, own: u32, max: u32| (length * own).div_ceil(max).div_ceil(8);
        (side(self.width, c.h, h), side(self.height, c.v, v))
    }
}

#[derive(Default)]
struct State {
    frame: Option<Frame>,
    dc: [Option<Huffman>; 4],
    ac: [Option<Huffman>; 4],
    restart_interval: usize,
    /// Which coefficients have all their bits, by component.
    complete: Vec<u64>,
    /// Of progressive frames: which coefficients of each block are not zero, by component.
    seen: Vec<Vec<u64>>,
}

/// What is wrong inside a scan.
enum Wrong {
    Ended,
    Code,
}

impl From<Ended> for Wrong {
    fn from(_: Ended) -> Self {
        Self::Ended
    }
}

/// What a scan codes.
struct Scan {
    /// Index into the frame, tables for DC and AC.
    components: Vec<(usize, usize, usize)>,
    progressive: bool,
    first: u32,
    last: u32,
    refine: bool,
    /// Bits that later scans add.
    low: u8,
}

impl State {
    fn huffman(&mut self, mut payload: &[u8]) -> Result<(), String> {
        while let Some((&id, rest)) = payload.split_first() {
            let (counts, rest) = rest.split_at_checked(16).ok_or("a short Huffman table")?;
            let n: usize = counts.iter().map(|&n| usize::from(n)).sum();
            let (symbols, rest) = rest.split_at_checked(n).ok_or("a short Huffman table")?;
            let table = Huffman::new(counts, symbols)?;
            let slot = match id >> 4 {
                0 => self.dc.get_mut(usize::from(id & 15)),
                1 => self.ac.get_mut(usize::from(id & 15)),
                _ => None,
            };
            *slot.ok_or_else(|| format!("a Huffman table with id {id:02X}"))? = Some(table);
            payload = rest;
        }
        Ok(())
    }

    fn frame(&mut self, frame: Frame) -> Result<(), String> {
        let (columns, rows) = frame.mcus();
        let blocks = |c: &Component| u64::from(columns * c.h) * u64::from(rows * c.v);
        if frame.components.iter().map(blocks).sum::<u64>() > MAX_BLOCKS {
            return Err("too many blocks".into());
        }
        if frame.progressive {
            self.seen = frame
                .components
                .iter()
                .map(|c| vec![0; blocks(c) as usize])
                .collect();
        }
        self.complete = vec![0; frame.components.len()];
        self.frame = Some(frame);
        Ok(())
    }

    /// Walks the scan whose data begin at `at`; returns where they end.
    fn scan(&mut self, header: &[u8], bytes: &[u8], at: usize) -> Result<usize, String> {
        let frame = self.frame.take().ok_or("a scan before the frame")?;
        let result = self.scan_of(&frame, header, bytes, at);
        self.frame = Some(frame);
        result
    }

    fn scan_of(&mut self, frame: &Frame, header: &[u8], bytes: &[u8], at: usize) -> Result<usize, String> {
        let scan = Scan::parse(frame, header)?;
        let (columns, rows) = match scan.components[..] {
            [(i, ..)] => frame.blocks(&frame.components[i]),
            _ => frame.mcus(),
        };
        let n = columns as usize * rows as usize;
        let mut bits = Bits::new(bytes, at);
        let (mut eob_run, mut restarts) = (0u32, 0u8);
        let stride = frame.mcus().0;
        for mcu in 0..n {
            if self.restart_interval > 0 && mcu > 0 && mcu % self.restart_interval == 0 {
                let left = bits.end();
                let marker = next_marker(bytes, bits.at);
                let wanted = 0xD0 + restarts % 8;
                if left > 0 || marker.map(|(m, _)| m) != Some(wanted) {
                    return Err(format!(
                        "damaged image data before block {mcu} of {n}: no restart marker {} where one belongs",
                        restarts % 8
                    ));
                }
                bits.at = marker.map_or(bits.at, |(_, after)| after);
                restarts = restarts.wrapping_add(1);
                eob_run = 0;
            }
            let (x, y) = (mcu as u32 % columns, mcu as u32 / columns);
            let walked = match scan.components[..] {
                [one] => {
                    let width = stride * frame.components[one.0].h;
                    self.block(&scan, one, (y * width + x) as usize, &mut bits, &mut eob_run)
                }
                _ => scan.components.iter().try_for_each(|&one| {
                    let c = frame.components[one.0];
                    (0..c.h * c.v).try_for_each(|i| {
                        let (bx, by) = (x * c.h + i % c.h, y * c.v + i / c.h);
                        let block = (by * stride * c.h + bx) as usize;
                        self.block(&scan, one, block, &mut bits, &mut eob_run)
                    })
                }),
            };
            walked.map_err(|wrong| match wrong {
                Wrong::Ended if bits.at >= bytes.len() => {
                    format!("the file ends inside the image data, at block {mcu} of {n}")
                }
                Wrong::Ended => format!("the image data end early, at block {mcu} of {n}"),
                Wrong::Code => format!("damaged image data, at block {mcu} of {n}"),
            })?;
        }
        if scan.low == 0 {
            let (first, last) = if scan.progressive {
                (scan.first, scan.last)
            } else {
                (0, 63)
            };
            for &(component, ..) in &scan.components {
                self.complete[component] |= (u64::MAX >> (63 - last)) & (u64::MAX << first);
            }
        }
        match bits.end() {
            0 => Ok(bits.at),
            left => Err(format!(
                "damaged image data: {left} bytes left over after the last block"
            )),
        }
    }

    /// One block of coefficients.
    fn block(
        &mut self,
        scan: &Scan,
        (component, dc, ac): (usize, usize, usize),
        block: usize,
        bits: &mut Bits<'_>,
        eob_run: &mut u32,
    ) -> Result<(), Wrong> {
        if !scan.progressive {
            let table = self.dc[dc].as_ref().ok_or(Wrong::Code)?;
            let size = bits.symbol(table)?.filter(|s| *s <= 16).ok_or(Wrong::Code)?;
            bits.take(size.into())?;
            let table = self.ac[ac].as_ref().ok_or(Wrong::Code)?;
            let mut k = 1;
            while k < 64 {
                let symbol = bits.symbol(table)?.ok_or(Wrong::Code)?;
                let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
                match (run, size) {
                    (15, 0) => k += 16,
                    (_, 0) => break,
                    _ => {
                        k += run;
                        if k > 63 {
                            return Err(Wrong::Code);
                        }
                        bits.take(size)?;
                        k += 1;
                    }
                }
            }
            return Ok(());
        }
        if scan.first == 0 {
            if scan.refine {
                bits.take(1)?;
                return Ok(());
            }
            let table = self.dc[dc].as_ref().ok_or(Wrong::Code)?;
            let size = bits.symbol(table)?.filter(|s| *s <= 16).ok_or(Wrong::Code)?;
            bits.take(size.into())?;
            return Ok(());
        }
        let table = self.ac[ac].as_ref().ok_or(Wrong::Code)?;
        let seen = &mut self.seen[component][block];
        match scan.refine {
            false => first_pass(scan, table, seen, bits, eob_run),
            true => refinement(scan, table, seen, bits, eob_run),
        }
    }
}

/// AC coefficients of a block for the first time (figure G.3).
fn first_pass(
    scan: &Scan,
    table: &Huffman,
    seen: &mut u64,
    bits: &mut Bits<'_>,
    eob_run: &mut u32,
) -> Result<(), Wrong> {
    if *eob_run > 0 {
        *eob_run -= 1;
        return Ok(());
    }
    let mut k = scan.first;
    while k <= scan.last {
        let symbol = bits.symbol(table)?.ok_or(Wrong::Code)?;
        let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        match (run, size) {
            (15, 0) => k += 16,
            (_, 0) => {
                *eob_run = (1 << run) - 1 + bits.take(run)?;
                break;
            }
            _ => {
                k += run;
                if k > scan.last {
                    return Err(Wrong::Code);
                }
                bits.take(size)?;
                *seen |= 1 << k;
                k += 1;
            }
        }
    }
    Ok(())
}

/// One more bit of the AC coefficients of a block (figure G.7).
fn refinement(
    scan: &Scan,
    table: &Huffman,
    seen: &mut u64,
    bits: &mut Bits<'_>,
    eob_run: &mut u32,
) -> Result<(), Wrong> {
    let mut k = scan.first;
    if *eob_run == 0 {
        while k <= scan.last {
            let symbol = bits.symbol(table)?.ok_or(Wrong::Code)?;
            let (mut run, size) = (u32::from(symbol >> 4), symbol & 15);
            match size {
                0 if run < 15 => {
                    *eob_run = (1 << run) + bits.take(run)?;
                    break;
                }
                0 => {}
                1 => {
                    bits.take(1)?;
                }
                _ => return Err(Wrong::Code),
            }
            while k <= scan.last {
                if *seen >> k & 1 == 1 {
                    bits.take(1)?;
                } else if run == 0 {
                    break;
                } else {
                    run -= 1;
                }
                k += 1;
            }
            if size == 1 {
                if k > scan.last {
                    return Err(Wrong::Code);
                }
                *seen |= 1 << k;
            }
            k += 1;
        }
    }
    if *eob_run > 0 {
        let rest = (k..=scan.last).filter(|&k| *seen >> k & 1 == 1).count();
        for _ in 0..rest {
            bits.take(1)?;
        }
        *eob_run -= 1;
    }
    Ok(())
}

impl Scan {
    fn parse(frame: &Frame, header: &[u8]) -> Result<Self, String> {
        let short = || "a damaged scan header".to_owned();
        let (&n, rest) = header.split_first().ok_or_else(short)?;
        let (selectors, rest) = rest.split_at_checked(2 * usize::from(n)).ok_or_else(short)?;
        let &[first, last, approximation, ..] = rest else {
            return Err(short());
        };
        let mut components: Vec<(usize, usize, usize)> = Vec::new();
        for selector in selectors.chunks_exact(2) {
            let index = frame
                .components
                .iter()
                .position(|c| c.id == selector[0])
                .ok_or_else(short)?;
            let tables = (usize::from(selector[1] >> 4), usize::from(selector[1] & 15));
            if tables.0 > 3 || tables.1 > 3 || components.iter().any(|(i, ..)| *i == index) {
                return Err(short());
            }
            components.push((index, tables.0, tables.1));
        }
        let progressive = frame.progressive;
        if components.is_empty()
            || (progressive && (first > last || last > 63 || (first > 0 && components.len() > 1)))
        {
            return Err(short());
        }
        Ok(Self {
            components,
            progressive,
            first: first.into(),
            last: last.into(),
            refine: approximation >> 4 > 0,
            low: if progressive { approximation & 15 } else { 0 },
        })
    }
}

/// The marker at `at`, after fill bytes, and where it ends.
fn next_marker(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    let rest = bytes.get(at..)?;
    let n_fill = rest.iter().take_while(|&&b| b == 0xFF).count();
    let marker = *rest.get(n_fill)?;
    (n_fill > 0).then_some((marker, at + n_fill + 1))
}
