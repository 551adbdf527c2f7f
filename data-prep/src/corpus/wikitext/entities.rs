//! Character references: the named ones of HTML 4, which MediaWiki knows, and the numeric ones.

use std::collections::HashMap;
use std::sync::LazyLock;

/// The character that the reference at the start of `text` (its `&`) stands for, and the bytes it takes.
///
/// A reference that was escaped once or more, such as `&amp;amp;nbsp;`, counts as the one that was meant.
pub(super) fn decode(text: &str) -> Option<(char, usize)> {
    let (character, length) = decode_once(text)?;
    if character != '&' {
        return Some((character, length));
    }
    // what follows the last `amp;`, with the `;` before it in the place of its `&`
    let rest = &text[length..];
    let skipped = length + rest.len() - rest.trim_start_matches("amp;").len();
    match decode_once(&text[skipped - 1..]) {
        Some((inner, bytes)) => Some((inner, skipped - 1 + bytes)),
        None => Some(('&', skipped)),
    }
}

/// The same for one reference; its first byte is not looked at.
fn decode_once(text: &str) -> Option<(char, usize)> {
    const MAX_BYTES: usize = 12;
    let end = 1 + text.bytes().take(MAX_BYTES).skip(1).position(|byte| byte == b';')?;
    let name = text.get(1..end)?;
    let character = match name.strip_prefix('#') {
        Some(number) => numeric(number)?,
        None => *NAMED.get(name)?,
    };
    Some((character, end + 1))
}

fn numeric(number: &str) -> Option<char> {
    let (digits, radix) = match number.strip_prefix(['x', 'X']) {
        Some(digits) => (digits, 16),
        None => (number, 10),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    char::from_u32(u32::from_str_radix(digits, radix).ok()?)
}

static NAMED: LazyLock<HashMap<&str, char>> = LazyLock::new(|| {
    let visible = VISIBLE.split_whitespace().filter_map(|pair| {
        let (name, character) = pair.split_once('=')?;
        Some((name, character.chars().next()?))
    });
    visible.chain(INVISIBLE).collect()
});

const INVISIBLE: [(&str, char); 9] = [
    ("nbsp", '\u{a0}'),
    ("ensp", '\u{2002}'),
    ("emsp", '\u{2003}'),
    ("thinsp", '\u{2009}'),
    ("zwnj", '\u{200c}'),
    ("zwj", '\u{200d}'),
    ("lrm", '\u{200e}'),
    ("rlm", '\u{200f}'),
    ("shy", '\u{ad}'),
];

const VISIBLE: &str = "
    AElig=Æ Aacute=Á Acirc=Â Agrave=À Alpha=Α Aring=Å Atilde=Ã Auml=Ä Beta=Β Ccedil=Ç Chi=Χ Dagger=‡ Delta=Δ ETH=Ð
    Eacute=É Ecirc=Ê Egrave=È Epsilon=Ε Eta=Η Euml=Ë Gamma=Γ Iacute=Í Icirc=Î Igrave=Ì Iota=Ι Iuml=Ï Kappa=Κ Lambda=Λ Mu=Μ
    Ntilde=Ñ Nu=Ν OElig=Œ Oacute=Ó Ocirc=Ô Ograve=Ò Omega=Ω Omicron=Ο Oslash=Ø Otilde=Õ Ouml=Ö Phi=Φ Pi=Π Prime=″ Psi=Ψ
    Rho=Ρ Scaron=Š Sigma=Σ THORN=Þ Tau=Τ Theta=Θ Uacute=Ú Ucirc=Û Ugrave=Ù Upsilon=Υ Uuml=Ü Xi=Ξ Yacute=Ý Yuml=Ÿ Zeta=Ζ
    aacute=á acirc=â acute=´ aelig=æ agrave=à alefsym=ℵ alpha=α amp=& and=∧ ang=∠ apos=' aring=å asymp=≈ atilde=ã auml=ä bdquo=„
    beta=β brvbar=¦ bull=• cap=∩ ccedil=ç cedil=¸ cent=¢ chi=χ circ=ˆ clubs=♣ cong=≅ copy=© crarr=↵ cup=∪ curren=¤ dArr=⇓
    dagger=† darr=↓ deg=° delta=δ diams=♦ divide=÷ eacute=é ecirc=ê egrave=è empty=∅ epsilon=ε equiv=≡ eta=η eth=ð euml=ë
    euro=€ exist=∃ fnof=ƒ forall=∀ frac12=½ frac14=¼ frac34=¾ frasl=⁄ gamma=γ ge=≥ gt=> hArr=⇔ harr=↔ hearts=♥ hellip=…
    iacute=í icirc=î iexcl=¡ igrave=ì image=ℑ infin=∞ int=∫ iota=ι iquest=¿ isin=∈ iuml=ï kappa=κ lArr=⇐ lambda=λ lang=〈
    laquo=« larr=← lceil=⌈ ldquo=“ le=≤ lfloor=⌊ lowast=∗ loz=◊ lsaquo=‹ lsquo=‘ lt=< macr=¯ mdash=— micro=µ middot=·
    minus=− mu=μ nabla=∇ ndash=– ne=≠ ni=∋ not=¬ notin=∉ nsub=⊄ ntilde=ñ nu=ν oacute=ó ocirc=ô oelig=œ ograve=ò oline=‾
    omega=ω omicron=ο oplus=⊕ or=∨ ordf=ª ordm=º oslash=ø otilde=õ otimes=⊗ ouml=ö para=¶ part=∂ permil=‰ perp=⊥ phi=φ
    pi=π piv=ϖ plusmn=± pound=£ prime=′ prod=∏ prop=∝ psi=ψ quot=\" rArr=⇒ radic=√ rang=〉 raquo=» rarr=→ rceil=⌉ rdquo=”
    real=ℜ reg=® rfloor=⌋ rho=ρ rsaquo=› rsquo=’ sbquo=‚ scaron=š sdot=⋅ sect=§ sigma=σ sigmaf=ς sim=∼ spades=♠ sub=⊂
    sube=⊆ sum=∑ sup=⊃ sup1=¹ sup2=² sup3=³ supe=⊇ szlig=ß tau=τ there4=∴ theta=θ thetasym=ϑ thorn=þ tilde=˜ times=×
    trade=™ uArr=⇑ uacute=ú uarr=↑ ucirc=û ugrave=ù uml=¨ upsih=ϒ upsilon=υ uuml=ü weierp=℘ xi=ξ yacute=ý yen=¥ yuml=ÿ
    zeta=ζ
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_decode() {
        for (text, expected) in [
            ("&amp;", Some(('&', 5))),
            ("&amp; x;", Some(('&', 5))),
            ("&amp;amp;", Some(('&', 9))),
            ("&amp;nbsp;", Some(('\u{a0}', 10))),
            ("&amp;amp;#8212; x", Some(('—', 15))),
            ("&amp;nosuchname;", Some(('&', 5))),
            ("&quot;", Some(('"', 6))),
            ("&apos;", Some(('\'', 6))),
            ("&ndash; x", Some(('–', 7))),
            ("&thetasym;", Some(('ϑ', 10))),
            ("&Eacute;", Some(('É', 8))),
            ("&eacute;", Some(('é', 8))),
            ("&nbsp;", Some(('\u{a0}', 6))),
            ("&#8212;", Some(('—', 7))),
            ("&#x2014;", Some(('—', 8))),
            ("&#X1F600;", Some(('😀', 9))),
            ("&#xD800;", None),
            ("&#1114112;", None),
            ("&#+5;", None),
            ("&#;", None),
            ("&;", None),
            ("&", None),
            ("&amp", None),
            ("&AMP;", None),
            ("&é;", None),
            ("&nosuchname;", None),
        ] {
            assert_eq!(decode(text), expected, "{text}");
        }
    }

    #[test]
    fn every_name_of_html_4_is_there() {
        // 252 names of HTML 4, and `apos` of XHTML
        assert_eq!(NAMED.len(), 253);
    }
}
