// SPDX-License-Identifier: Apache-2.0
//
// Draws status.json, once a second while somebody looks. Everything that comes from there becomes a
// text node or a number: no markup is ever made of it.
'use strict';
(() => {
  const SVG = 'http://www.w3.org/2000/svg';
  const every = 1000, patience = 5000;
  const byId = (id) => document.getElementById(id);
  let status = null, paused = false, chosen = null, answered = 0;

  // ---- parts ----

  const make = (name, attributes = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children.map((child) => child instanceof Node ? child : String(child)));
    return node;
  };
  const draw = (name, attributes, ...children) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children.map((child) => child instanceof Node ? child : String(child)));
    return node;
  };
  const number = (value) => Number.isFinite(Number(value)) ? Number(value) : 0;
  const plain = (value, digits = 1) => number(value).toLocaleString('en',
    {maximumFractionDigits: Math.abs(number(value)) >= 100 ? 0 : digits});
  const seconds = (value) => {
    if (value === null || value === undefined) return '\u2013';
    const s = number(value);
    if (s < 0.001) return plain(s * 1e6) + '\u00a0\u00b5s';
    if (s < 1) return plain(s * 1e3) + '\u00a0ms';
    return s < 120 ? plain(s) + '\u00a0s' : plain(s / 60, 0) + '\u00a0min';
  };
  const bytes = (value) => {
    const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
    let b = number(value), i = 0;
    while (b >= 1024 && i + 1 < units.length) { b /= 1024; ++i; }
    return plain(b) + '\u00a0' + units[i];
  };
  const tile = (title, value, more) => make('div', {}, make('dt', {}, title),
    make('dd', {}, value, ...(more ? [' ', make('small', {}, more)] : [])));

  const table = (caption, heads, rows) => {
    const cell = (text, i) => make('td', heads[i].words ? {class: 'words'} : {}, text);
    return make('table', {}, make('caption', {}, caption),
      make('thead', {}, make('tr', {}, ...heads.map((head) =>
        make('th', {scope: 'col', ...(head.words ? {class: 'words'} : {})}, head.title)))),
      make('tbody', {}, ...rows.map((row) => make('tr', {},
        make('th', {scope: 'row'}, row[0]),
        ...row.slice(1).map((text, i) => cell(text, i + 1))))));
  };

  // ---- plots ----

  // A round number that is not below, for the top of an axis.
  const roundUp = (value) => {
    if (!(value > 0)) return 1;
    const power = 10 ** Math.floor(Math.log10(value));
    return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
  };
  // In pixels of the screen, so that words are as large on a phone; measured at each drawing.
  let wide = 440;
  const high = 170, left = 46, right = 10, top = 10, bottom = 24;
  const begin = (svg) => {
    wide = Math.max(240, svg.clientWidth || wide);
    svg.setAttribute('viewBox', `0 0 ${wide} ${high}`);
    svg.replaceChildren();
  };
  const yOf = (value, most) => top + (high - top - bottom) * (1 - number(value) / most);
  const axis = (svg, most) => {
    for (const part of [0, 0.5, 1]) {
      const y = yOf(most * part, most);
      svg.append(draw('line', {class: 'grid', x1: left, x2: wide - right, y1: y, y2: y}),
        draw('text', {x: left - 6, y: y + 4, 'text-anchor': 'end'},
          number(most * part).toLocaleString('en', {notation: 'compact', maximumFractionDigits: 1})));
    }
  };

  // A figure that keeps its place, its focus and its cursor while its plot is drawn again.
  const figures = new Map();
  const figureOf = (key, parent) => {
    let figure = figures.get(key);
    if (figure) return figure;
    const title = make('h3'), legend = make('p', {class: 'legend', 'aria-hidden': 'true'});
    const svg = draw('svg', {role: 'img', tabindex: '0'});
    const read = make('p', {class: 'read', 'aria-live': 'polite'});
    const root = make('figure', {class: 'card'}, title, svg, legend, read);
    figure = {root, title, legend, svg, read, cursor: null, redraw: () => {}, count: 0, at: () => 0};
    const move = (to) => {
      figure.cursor = to === null ? null : Math.max(0, Math.min(figure.count - 1, to));
      figure.redraw();
    };
    svg.addEventListener('keydown', (event) => {
      const now = figure.cursor ?? figure.count - 1;
      const to = {ArrowLeft: now - 1, ArrowRight: now + 1, PageUp: now - 10, PageDown: now + 10,
        Home: 0, End: figure.count - 1, Escape: null}[event.key];
      if (to === undefined || figure.count === 0) return;
      event.preventDefault();
      move(to);
    });
    svg.addEventListener('pointermove', (event) => {
      const box = svg.getBoundingClientRect();
      wide = svg.viewBox.baseVal.width;
      if (figure.count > 0) move(figure.at((event.clientX - box.left) / box.width * wide));
    });
    svg.addEventListener('pointerleave', () => move(null));
    svg.addEventListener('blur', () => move(null));
    figures.set(key, figure);
    parent.append(root);
    return figure;
  };
  const legendOf = (figure, parts) => figure.legend.replaceChildren(...parts.map((part) => {
    const sample = make('i');
    sample.style.color = `var(--${part.colour})`;
    if (part.dashed) sample.style.borderTopStyle = 'dashed';
    return make('span', {}, sample, part.name);
  }));

  // lines: [{name, values, mark, colour, steps, area, dashed}]; the ages say where a point is.
  const timePlot = (parent, key, title, ages, lines, unit = '') => {
    const figure = figureOf(key, parent);
    // Five minutes, or as many whole ones as there are so far.
    const minutes = Math.min(5, Math.max(1, Math.ceil(number(ages[0]) / 60)));
    const xOf = (age) => wide - right - (wide - left - right) * Math.min(1, number(age) / (60 * minutes));
    const most = roundUp(Math.max(...lines.flatMap((line) => line.values.map(number)), 0));
    figure.title.textContent = title;
    figure.count = ages.length;
    figure.at = (x) => ages.reduce((best, age, i) =>
      Math.abs(xOf(age) - x) < Math.abs(xOf(ages[best]) - x) ? i : best, 0);
    legendOf(figure, lines);
    figure.redraw = () => {
      const svg = figure.svg;
      begin(svg);
      axis(svg, most);
      // At the edge there is no room for its word; in the first minute there is nothing but its edges.
      for (const minute of [4, 3, 2, 1, 0.5, 0].filter((each) => each < minutes &&
        (each !== 0.5 || minutes === 1))) {
        svg.append(draw('text', {x: xOf(minute * 60), y: high - 6,
          'text-anchor': minute === 0 ? 'end' : 'middle'}, minute === 0 ? 'now' : minute < 1 ? '\u221230 s' : `\u2212${minute} min`));
      }
      for (const line of lines) {
        const points = line.values.map((value, i) => [xOf(ages[i]), yOf(value, most)]);
        if (points.length === 0) continue;
        let path = '';
        points.forEach(([x, y], i) => {
          if (i === 0) path += `M${x.toFixed(1)} ${y.toFixed(1)}`;
          else path += (line.steps ? `H${x.toFixed(1)}V${y.toFixed(1)}` : `L${x.toFixed(1)} ${y.toFixed(1)}`);
        });
        if (line.area) {
          svg.append(draw('path', {class: 'area', d: path +
            `L${points.at(-1)[0].toFixed(1)} ${yOf(0, most)}L${points[0][0].toFixed(1)} ${yOf(0, most)}Z`}));
        }
        svg.append(draw('path', {class: 'plot-' + line.mark, d: path}));
      }
      const last = figure.cursor ?? ages.length - 1;
      const words = ages.length === 0 ? 'no points yet' : lines.map((line) =>
        `${line.name} ${plain(line.values[last])}${unit}`).join(', ');
      svg.setAttribute('aria-label', `${title}, the last ${minutes === 1 ? 'minute' : minutes + ' minutes'}. ` +
        (ages.length ? `Now: ${words}. ` : 'No points yet. ') + 'Arrow keys move through time.');
      if (figure.cursor !== null && ages.length) {
        const x = xOf(ages[figure.cursor]);
        svg.append(draw('line', {class: 'cursor', x1: x, x2: x, y1: top, y2: high - bottom}));
        figure.read.textContent = `${seconds(ages[figure.cursor])} ago: ${words}`;
      } else {
        figure.read.textContent = '';
      }
    };
    figure.redraw();
  };

  // What was completed a second, against what was in flight: where it stops growing is the knee.
  const kneePlot = (parent, key, title, gate, history) => {
    const figure = figureOf(key, parent);
    const points = history.in_use.map((use, i) => [number(use), number(history.ok_per_s[i])])
      .filter(([use]) => use > 0).sort((a, b) => a[0] - b[0]);
    const knee = gate.knee;
    const mostX = Math.max(2, Math.ceil(Math.max(...points.map((p) => p[0]),
      number(gate.limit), knee ? number(knee.limit) : 0)) + 1);
    const mostY = roundUp(Math.max(...points.map((p) => p[1]), knee ? number(knee.per_second) : 0, 0));
    const xOf = (value) => left + (wide - left - right) * Math.min(1, number(value) / mostX);
    figure.title.textContent = title;
    figure.count = points.length;
    figure.at = (x) => points.reduce((best, point, i) =>
      Math.abs(xOf(point[0]) - x) < Math.abs(xOf(points[best][0]) - x) ? i : best, 0);
    legendOf(figure, [{name: 'a second of the last minutes', colour: 'use'},
      ...(knee ? [{name: 'knee, and where it may be', colour: 'knee'}] : [])]);
    figure.redraw = () => {
      const svg = figure.svg;
      begin(svg);
      axis(svg, mostY);
      const step = Math.max(1, Math.ceil(mostX / 8));
      for (let use = 0; use <= mostX; use += step) {
        svg.append(draw('text', {x: xOf(use), y: high - 6, 'text-anchor': 'middle'}, use));
      }
      if (knee) {
        const from = xOf(knee.low), to = xOf(knee.high), x = xOf(knee.limit);
        svg.append(draw('rect', {class: 'band', x: from, y: top, width: Math.max(0, to - from),
          height: high - top - bottom}),
        draw('line', {class: 'plot-knee', x1: x, x2: x, y1: top, y2: high - bottom}));
      }
      points.forEach(([use, rate], i) => svg.append(draw('circle', {class: 'dot', cx: xOf(use),
        cy: yOf(rate, mostY), r: i === figure.cursor ? 6 : 3})));
      const found = knee ? `The knee is at ${plain(knee.limit)}, between ${plain(knee.low)} and ` +
        `${plain(knee.high)}, with ${plain(knee.per_second)} a second, found ${seconds(knee.age_s)} ago.`
        : 'The knee is not known.';
      svg.setAttribute('aria-label', `${title}. ${found} Arrow keys move through the points.`);
      figure.read.textContent = figure.cursor !== null && points.length
        ? `${plain(points[figure.cursor][0])} in flight: ${plain(points[figure.cursor][1])} a second`
        : found;
    };
    figure.redraw();
  };

  // ---- sections ----

  const showGates = (executor) => {
    byId('gate-table').replaceChildren(table('Tasks of a class at once', [{title: 'class'},
      {title: 'in flight'}, {title: 'limit'}, {title: 'ceiling'}, {title: 'knee'},
      {title: 'policy', words: true}], executor.gates.map((gate) => [gate.class, plain(gate.in_use),
      plain(gate.limit), plain(gate.ceiling), gate.knee ? plain(gate.knee.limit) : '\u2013',
      gate.policy + (gate.enforced ? '' : `, only watching; it asks for ${plain(gate.wanted)}`)])));
    const used = executor.gates.filter((gate) => {
      const history = executor.history.gates.find((each) => each.class === gate.class);
      return gate.in_use > 0 || history?.in_use.some((use) => use > 0) ||
        history?.ok_per_s.some((rate) => rate > 0);
    });
    const wanted = new Set();
    for (const gate of used) {
      const history = executor.history.gates.find((each) => each.class === gate.class);
      const limits = history.limit;
      const near = number(gate.ceiling) <= 4 * Math.max(...limits.map(number), number(gate.limit), 4);
      const key = `${executor.name}/gate/${gate.class}`;
      timePlot(byId('gates'), key, `${gate.class}: in flight, limit and ceiling`, executor.history.age_s, [
        {name: 'in flight', values: history.in_use, mark: 'use', colour: 'use', area: true},
        {name: 'limit', values: limits, mark: 'limit', colour: 'limit', steps: true},
        // A ceiling far above would flatten the rest; it is in the table.
        ...(near ? [{name: 'ceiling', values: limits.map(() => gate.ceiling), mark: 'ceiling',
          colour: 'ceiling', dashed: true}] : [])]);
      kneePlot(byId('gates'), key + '/knee', `${gate.class}: completed a second by tasks in flight`,
        gate, history);
      wanted.add(key).add(key + '/knee');
    }
    return wanted;
  };

  const showLoad = (executor) => {
    const history = executor.history, key = executor.name + '/load/';
    timePlot(byId('load'), key + 'rates', 'Tasks that ended, a second', history.age_s, [
      {name: 'ok', values: history.ok_per_s, mark: 'one', colour: 'use', area: true},
      {name: 'rejected or expired', values: history.refused_per_s, mark: 'two', colour: 'limit'},
      {name: 'failed', values: history.failed_per_s, mark: 'three', colour: 'ceiling'}]);
    timePlot(byId('load'), key + 'queue', 'Tasks that wait', history.age_s, [
      {name: 'queued', values: history.queued, mark: 'one', colour: 'use', area: true}]);
    return new Set([key + 'rates', key + 'queue']);
  };

  const show = () => {
    const executors = status.executors;
    const select = byId('executor');
    const names = executors.map((each) => each.name);
    if ([...select.options].map((option) => option.value).join('\n') !== names.join('\n')) {
      select.replaceChildren(...names.map((name) => make('option', {value: name}, name)));
      if (chosen !== null && names.includes(chosen)) select.value = chosen;
    }
    byId('chooser').hidden = names.length < 2;
    const executor = executors.find((each) => each.name === select.value);
    if (!executor) {
      byId('warnings').replaceChildren(make('p', {class: 'warning'}, 'There is no executor here.'));
      return;
    }
    document.title = `${executor.name}: Streamgate status`;
    byId('warnings').replaceChildren(...executor.warnings.map((warning) =>
      make('p', {class: 'warning'}, warning.text)));

    const rate = executor.history.ok_per_s.at(-1);
    const queue = executor.queue;
    byId('overview').replaceChildren(
      tile('completed', rate === undefined ? '\u2013' : plain(rate), 'a second'),
      tile('waiting', plain(queue.tasks), `of ${plain(queue.max_tasks)} tasks`),
      tile('waiting bytes', bytes(queue.bytes), `of ${bytes(queue.max_bytes)}`),
      tile('wait, last minute', seconds(executor.wait_s.p50), `p99 ${seconds(executor.wait_s.p99)}`),
      tile('run, last minute', seconds(executor.run_s.p50), `p99 ${seconds(executor.run_s.p99)}`),
      tile('threads at work', plain(executor.arena.at_work),
        `of ${plain(executor.arena.threads)}, ${plain(executor.arena.intra_op_threads)} within a task`),
      tile('streams leased', plain(executor.streams.leased), `of ${plain(executor.streams.slots)}`));

    const keep = new Set([...showGates(executor), ...showLoad(executor)]);
    for (const [key, figure] of figures) {
      if (keep.has(key)) continue;
      figure.root.remove();
      figures.delete(key);
    }

    const workers = executor.workers, overflow = executor.overflow;
    byId('workers-section').hidden = workers.starts === 0 && overflow.policy === '';
    byId('workers').replaceChildren(
      tile('busy', plain(workers.busy)), tile('idle', plain(workers.idle)),
      tile('starting, ending', `${plain(workers.starting)}, ${plain(workers.ending)}`),
      tile('starts', plain(workers.starts), Object.entries(workers.exits).filter(([, count]) => count > 0)
        .map(([cause, count]) => `${plain(count)} ${cause}`).join(', ')),
      tile('memory', bytes(workers.memory_bytes)),
      tile('calls waiting', plain(workers.calls_queued), `${plain(workers.calls_retried)} repeated`),
      tile('overflow', overflow.policy || 'none', overflow.measured
        ? `gain ${plain(overflow.measured.gain, 2)}` : 'gain not measured'));
    byId('quarantined').replaceChildren(...(overflow.quarantined.length ? [table(
      'Calls that are refused, having killed workers', [{title: 'operation'}, {title: 'killed'},
        {title: 'evidence', words: true}], overflow.quarantined.map((each) =>
        [each.operation, plain(each.killed), each.evidence]))] : []));

    byId('decisions').replaceChildren(executor.decisions.length === 0
      ? make('p', {class: 'note', style: 'padding: 0.6rem 0.8rem'}, 'No policy has decided anything yet.')
      : table('The newest first; the gain is of the limit tried over the base, with its 90 % interval',
        [{title: 'when'}, {title: 'class', words: true}, {title: 'limit'}, {title: 'reason', words: true},
          {title: 'gain'}], executor.decisions.slice(0, 24).map((each) => [seconds(each.age_s) + ' ago',
          each.class, `${plain(each.from)} \u2192 ${plain(each.to)}`, String(each.reason).replaceAll('_', ' '),
          each.gain_low === each.gain_high ? '\u2013' : percent(each.gain) +
            ` (${percent(each.gain_low)} to ${percent(each.gain_high)})`])));

    const limits = executor.limits;
    const pairs = {...executor.provenance,
      'limits file': limits.file ? `${limits.file}, ${limits.state}` : 'none',
      'config reloads': `${plain(executor.reloads.applied)} applied, ${plain(executor.reloads.failed)} failed`,
      'streamgate': status.version};
    byId('provenance').replaceChildren(...Object.entries(pairs).flatMap(([key, value]) =>
      [make('dt', {}, key), make('dd', {}, value || '\u2013')]));
  };
  // Gains are natural logarithms of ratios.
  const percent = (gain) => {
    const part = (Math.exp(number(gain)) - 1) * 100;
    return (part < 0 ? '\u2212' : '+') + plain(Math.abs(part)) + ' %';
  };

  // ---- asking ----

  const say = (text, lost) => {
    const line = byId('connection');
    // Said only when it changes: it is read aloud.
    if (line.textContent !== text) line.textContent = text;
    line.classList.toggle('lost', lost);
  };
  const ask = async () => {
    if (!paused && !document.hidden) {
      try {
        const reply = await fetch('status.json', {signal: AbortSignal.timeout(patience), cache: 'no-store'});
        if (!reply.ok) throw new Error(`status.json answers ${reply.status}`);
        status = await reply.json();
        answered = Date.now();
        show();
        say('Live', false);
      } catch (error) {
        say(answered ? `No answer since ${new Date(answered).toLocaleTimeString()}` :
          `No status: ${error.message}`, true);
      }
    }
    setTimeout(ask, every);
  };
  byId('pause').addEventListener('click', () => {
    paused = !paused;
    byId('pause').setAttribute('aria-pressed', String(paused));
    byId('pause').textContent = paused ? 'Go on' : 'Pause';
    if (paused) say('Paused', false);
  });
  byId('executor').addEventListener('change', () => {
    chosen = byId('executor').value;
    if (status) show();
  });
  ask();
})();
