// Text whose contrast to what lies behind it is below 4.5:1, and controls and pictures without a name.
() => {
  const parse = (c) => { const m = c.match(/[\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
  const lum = ([r,g,b]) => { const f = (v) => { v/=255; return v <= 0.03928 ? v/12.92 : ((v+0.055)/1.055)**2.4; }; return 0.2126*f(r)+0.7152*f(g)+0.0722*f(b); };
  const over = (top, below) => [0,1,2].map(i => top[i]*top[3] + below[i]*(1-top[3]));
  const behind = (e) => { if (!e) return [255,255,255]; const c = parse(getComputedStyle(e).backgroundColor); return c[3] === 1 ? c.slice(0,3) : over(c, behind(e.parentElement)); };
  const faint = {};
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n = walker.nextNode(); n; n = walker.nextNode()) {
    const e = n.parentElement;
    if (!n.textContent.trim() || !e.checkVisibility({ opacityProperty: true, visibilityProperty: true }) || e.closest("[disabled],[aria-disabled=true],script,style")) continue;
    const back = behind(e), front = over(parse(getComputedStyle(e).color), back);
    const [a,b] = [lum(front), lum(back)].sort((x,y)=>y-x);
    const ratio = (a+0.05)/(b+0.05);
    if (ratio < 4.5) faint[n.textContent.trim().slice(0,40)] = ratio.toFixed(2);
  }
  const nameless = [...document.querySelectorAll("button, [role=button], [role=slider], input:not([type=file]), img, select, textarea")].filter(e => e.checkVisibility() && !(e.innerText?.trim() || e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") || e.title || e.alt || e.labels?.length || e.placeholder)).map(e => e.outerHTML.slice(0,140));
  return { faint, nameless };
}
