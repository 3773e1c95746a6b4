//! Huffman codes and the bits of JPEG's entropy-coded data.

/// A Huffman table by code length.
#[derive(Debug, Clone)]
pub(super) struct Huffman {
    /// Of each 8 bits: symbol and length of the code that they begin with, or length 0.
    short: Vec<(u8, u8)>,
    /// Largest code of each length, and what to add for its place in `symbols`.
    long: [(i32, i32); 17],
    symbols: Vec<u8>,
}

impl Huffman {
    /// From the number of codes of each length, and the symbols in order.
    pub(super) fn new(counts: &[u8], symbols: &[u8]) -> Result<Self, String> {
        let mut table = Self {
            short: vec![(0, 0); 256],
            long: [(-1, 0); 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut at) = (0i32, 0usize);
        for (length, &n) in (1u32..).zip(counts) {
            let n = usize::from(n);
            table.long[length as usize] = (if n > 0 { code + n as i32 - 1 } else { -1 }, at as i32 - code);
            for _ in 0..n {
                if code >= 1 << length {
                    return Err("a Huffman table with too many codes".into());
                }
                if length <= 8 {
                    let first = (code as usize) << (8 - length);
                    table.short[first..first + (1 << (8 - length))].fill((symbols[at], length as u8));
                }
                code += 1;
                at += 1;
            }
            code <<= 1;
        }
        Ok(table)
    }
}

/// The bits of a segment of entropy-coded data.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// How far bytes were taken.
    pub(super) at: usize,
    held: u64,
    n: u32,
}

/// Asked for more bits than there are.
pub(super) struct Ended;

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            at,
            held: 0,
            n: 0,
        }
    }

    /// Takes bytes until a marker or the end.
    fn fill(&mut self) {
        while self.n <= 56 {
            let byte = match (self.bytes.get(self.at), self.bytes.get(self.at + 1)) {
                (Some(0xFF), Some(0)) => {
                    self.at += 2;
                    0xFF
                }
                (Some(0xFF), _) | (None, _) => return,
                (Some(&byte), _) => {
                    self.at += 1;
                    byte
                }
            };
            self.held |= u64::from(byte) << (56 - self.n);
            self.n += 8;
        }
    }

    /// The next bits, at most 16.
    pub(super) fn take(&mut self, count: u32) -> Result<u32, Ended> {
        if count == 0 {
            return Ok(0);
        }
        if self.n < count {
            self.fill();
            if self.n < count {
                return Err(Ended);
            }
        }
        let value = (self.held >> (64 - count)) as u32;
        self.held <<= count;
        self.n -= count;
        Ok(value)
    }

    /// A symbol; `None` for bits that are no code.
    pub(super) fn symbol(&mut self, table: &Huffman) -> Result<Option<u8>, Ended> {
        if self.n < 16 {
            self.fill();
        }
        let (symbol, length) = table.short[(self.held >> 56) as usize];
        if length > 0 {
            self.take(length.into())?;
            return Ok(Some(symbol));
        }
        for length in 9..=16 {
            let code = (self.held >> (64 - length)) as i32;
            let (max, delta) = table.long[length as usize];
            if code <= max {
                self.take(length)?;
                return Ok(table.symbols.get((code + delta) as usize).copied());
            }
        }
        if self.n < 16 { Err(Ended) } else { Ok(None) }
    }

    /// Ends a segment: the rest of the last byte is padding. How many bytes that are no padding are left over.
    pub(super) fn end(&mut self) -> usize {
        self.held <<= self.n % 8;
        self.n -= self.n % 8;
        let mut left = 0;
        loop {
            while self.n >= 8 {
                let byte = self.take(8).unwrap_or(0xFF);
                left += usize::from(!matches!(byte, 0 | 0xFF));
            }
            self.fill();
            if self.n == 0 {
                return left;
            }
        }
    }
}
