use super::*;
use std::io::Cursor;

const SITE: &str = r#"<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" xml:lang="de"><siteinfo><namespaces>
<namespace key="-2" case="first-letter">Medium</namespace><namespace key="0" case="first-letter" />
<namespace key="6" case="first-letter">Datei</namespace><namespace key="14" case="first-letter">Kategorie</namespace>
</namespaces></siteinfo>"#;

fn page(title: &str, namespace: &str, inside: &str, text: &str) -> String {
    format!(
        "<page><title>{title}</title><ns>{namespace}</ns><id>7</id>{inside}<revision><id>8</id><contributor>\
         <username>title</username></contributor><comment>[[no text]]</comment><model>wikitext</model>\
         <text xml:space=\"preserve\">{text}</text></revision></page>\n"
    )
}

fn dump(pages: &[String]) -> String {
    format!("{SITE}{}</mediawiki>", pages.concat())
}

fn read(xml: impl Into<Vec<u8>>) -> Vec<Result<Record, CorpusError>> {
    Mediawiki.read(Box::new(Cursor::new(xml.into()))).collect()
}

fn document(title: &str, text: &str) -> Record {
    Record::Document(Document { title: Some(title.into()), text: text.into() })
}

/// The records before the error, and the error's offset and message.
fn broken(xml: impl Into<Vec<u8>>) -> (Vec<Record>, u64, String) {
    let mut records = read(xml);
    match records.pop() {
        Some(Err(CorpusError::Xml { offset, message })) => {
            (records.into_iter().map(Result::unwrap).collect(), offset, message)
        }
        last => panic!("no XML error but {last:?}"),
    }
}

#[test]
fn articles_are_read_and_the_rest_is_skipped_by_reason() {
    let xml = dump(&[
        page(
            "One",
            "0",
            "",
            "'''One''' is &lt;b&gt;a&lt;/b&gt; [[number|numeral]] &amp;amp; more &#8212; &quot;so&quot;.",
        ),
        page("Old", "0", "<redirect title=\"One\" />", "#WEITERLEITUNG [[One]]"),
        page("Older", "0", "", "#REDIRECT [[One]]"),
        page("Talk:One", "1", "", "Talk."),
        page("Empty", "0", "", "{{only|a template}}"),
        page("Q &amp; A", "0", "", "<![CDATA[Some <br> text & [[more]].]]>"),
        page("Style", "0", "", "x").replace("<model>wikitext", "<model>css"),
        page("Hidden", "0", "", "").replace("<text xml:space=\"preserve\"></text>", "<text deleted=\"deleted\" />"),
    ]);
    let records: Vec<Record> = read(xml).into_iter().map(Result::unwrap).collect();
    assert_eq!(
        records,
        [
            document("One", "One is a numeral & more — \"so\"."),
            Record::Skipped("redirect"),
            Record::Skipped("redirect"),
            Record::Skipped("not an article"),
            Record::Skipped("no text"),
            document("Q & A", "Some text & more."),
            Record::Skipped("not wikitext"),
            Record::Skipped("no text"),
        ]
    );
}

#[test]
fn namespace_names_of_the_wiki_are_used() {
    let text = "[[Datei:a.jpg|mini|Ein [[Bild]]]]Text.\n[[Kategorie:K]] [[Medium:m.ogg|hören]]";
    assert_eq!(read(dump(&[page("A", "0", "", text)])).pop().unwrap().unwrap(), document("A", "Text."));
}

#[test]
fn the_last_revision_counts() {
    let second = "</text></revision><revision><text>new</text></revision></page>";
    let xml = dump(&[page("A", "0", "", "old").replace("</text></revision></page>", second)]);
    assert_eq!(read(xml).pop().unwrap().unwrap(), document("A", "new"));
}

#[test]
fn pages_without_a_root_are_read() {
    let xml = page("A", "0", "", "a") + &page("B", "0", "", "b");
    let records: Vec<Record> = read(xml).into_iter().map(Result::unwrap).collect();
    assert_eq!(records, [document("A", "a"), document("B", "b")]);
}

#[test]
fn a_byte_order_mark_and_a_declaration_are_fine() {
    let xml =
        format!("\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- x -->{}", dump(&[page("A", "0", "", "a")]));
    assert_eq!(read(xml).pop().unwrap().unwrap(), document("A", "a"));
}

#[test]
fn broken_xml_names_the_page_and_the_offset() {
    let first = page("A", "0", "", "a");
    let bad = page("B", "0", "", "b").replace("</text>", "</txet>");
    let xml = dump(&[first.clone(), bad, page("C", "0", "", "c")]);
    let expected_offset = xml.find("</txet>").unwrap() as u64;
    let (records, offset, message) = broken(xml);
    assert_eq!(records, [document("A", "a")]);
    assert!(message.starts_with("in page `B`: ") && message.contains("text"), "{message}");
    assert_eq!(offset, expected_offset);
}

#[test]
fn a_truncated_dump_is_an_error_wherever_it_ends() {
    let xml = dump(&[page("A", "0", "", "a &amp; <b/>"), page("B", "0", "", "b")]);
    let num_bytes = xml.len();
    for end in 1..num_bytes {
        let mut records = read(&xml.as_bytes()[..end]);
        let last = records.pop().unwrap();
        assert!(matches!(last, Err(CorpusError::Xml { .. })), "{end}: {last:?}");
        assert!(records.iter().all(Result::is_ok));
    }
    let (_, offset, message) = broken(xml.strip_suffix("</mediawiki>").unwrap());
    assert_eq!(message, "after page `B`: the file ends before its last element is closed");
    assert_eq!(offset, (num_bytes - "</mediawiki>".len()) as u64);
}

#[test]
fn every_other_way_to_be_wrong_has_a_sentence() {
    let one = |text: &str| dump(&[page("A", "0", "", text)]);
    for (xml, expected) in [
        (String::new(), "no <mediawiki> element"),
        ("just text".into(), "no <mediawiki> element"),
        ("<rss></rss>".into(), "expected <mediawiki>, found <rss>"),
        (one("&nbsp;"), "in page `A`: unknown entity `&nbsp;`"),
        (one("&#0;"), "in page `A`: unknown entity `&#0;`"),
        (one("x").replace("<ns>0</ns>", ""), "in page `A`: no <ns>: an export of version 0.6 or newer is needed"),
        (one(&"<a>".repeat(100)), "in page `A`: more than 64 elements are open"),
    ] {
        assert_eq!(broken(xml).2, expected);
    }
    let mut bytes = one("caf\u{e9}").into_bytes();
    let at = bytes.iter().position(|&byte| byte == 0xc3).unwrap();
    bytes[at] = 0xff;
    assert!(broken(bytes).2.starts_with("in page `A`: "));
}

#[test]
fn no_more_than_the_limit_is_held() {
    let limit = 1000;
    let message = |xml: String| match Pages::new(Box::new(Cursor::new(xml.into_bytes())), limit).last() {
        Some(Err(CorpusError::Xml { message, .. })) => message,
        last => panic!("{last:?}"),
    };
    let one = |text: &str| dump(&[page("A", "0", "", text)]);
    assert_eq!(message(one(&"x".repeat(2000))), "in page `A`: more than 1000 bytes without a tag");
    assert_eq!(message(one(&"xxxx&amp;".repeat(400))), "in page `A`: more than 1000 bytes of text");
    assert_eq!(
        message(one(&format!("<!-- {} -->", "<".repeat(2000)))),
        "in page `A`: more than 1000 bytes without a tag"
    );
    let fits = one(&"é".repeat(400));
    let last = Pages::new(Box::new(Cursor::new(fits.into_bytes())), limit).last();
    assert_eq!(last.unwrap().unwrap(), document("A", &"é".repeat(400)));
}

#[test]
fn a_failing_stream_is_an_io_error() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, "decompression failed"))
        }
    }
    let start = Cursor::new(SITE.as_bytes());
    let records: Vec<_> = Mediawiki.read(Box::new(io::BufReader::new(start.chain(Failing)))).collect();
    assert_eq!(records.len(), 1);
    assert!(matches!(&records[0], Err(CorpusError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof));
}
