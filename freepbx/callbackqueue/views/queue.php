<?php
// SPDX-License-Identifier: MIT

// The tab "Callback" in the page of a queue. Given: $prefix, $settings, $problems, $recordings.

$h = fn ($text) => htmlspecialchars((string) $text, ENT_QUOTES);
$row = function (string $field, string $label, string $help, string $input) use ($prefix, $h) {
	$id = $h($prefix . $field);
	return <<<HTML
	<div class="element-container">
		<div class="row"><div class="form-group">
			<div class="col-md-3">
				<label class="control-label" for="$id">{$h($label)}</label>
				<i class="fa fa-question-circle fpbx-help-icon" data-for="$id"></i>
			</div>
			<div class="col-md-9">$input</div>
		</div></div>
		<div class="row"><div class="col-md-12">
			<span id="$id-help" class="help-block fpbx-help-block">{$h($help)}</span>
		</div></div>
	</div>

	HTML;
};
$text = fn (string $field) => sprintf(
	'<input type="text" class="form-control" id="%1$s" name="%1$s" value="%2$s">',
	$h($prefix . $field),
	$h($settings[$field])
);
$select = function (string $field, array $options) use ($prefix, $settings, $h) {
	$html = sprintf('<select class="form-control" id="%1$s" name="%1$s">', $h($prefix . $field));
	foreach ($options as $value => $label) {
		$html .= sprintf(
			'<option value="%s"%s>%s</option>',
			$h($value),
			(string) $value === (string) $settings[$field] ? ' selected' : '',
			$h($label)
		);
	}
	return "$html</select>";
};
$keys = array_combine(str_split('1234567890*#'), str_split('1234567890*#'));
$offers = ['default' => _('"To be called back, press 1"'), 'none' => _('Nothing')] + $recordings;
?>
<?php foreach ($problems as $problem) { ?>
<div class="alert alert-danger"><?= $h($problem) ?></div>
<?php } ?>
<?= $row('enabled', _('Callback'), _('Callers who wait press a key, hang up, and are called back when an agent is free.'), $select('enabled', ['no' => _('No'), 'yes' => _('Yes')])) ?>
<?= $row('key', _('Key'), _('The key for a callback. Other keys lead to the queue\'s "IVR Break Out Menu", if it has one.'), $select('key', $keys)) ?>
<?= $row('offer', _('Offer'), _('What callers hear while they wait, in place of the queue\'s periodic announcement.'), $select('offer', $offers)) ?>
<?= $row('frequency', _('Repeat offer'), _('Seconds between two offers.'), $text('frequency')) ?>
<?= $row('attempts', _('Attempts'), _('How often a client is called who is busy or does not answer. Empty: as the service is set.'), $text('attempts')) ?>
<?= $row('caller_id', _('Caller ID'), _('The number that clients see, unless the outbound route sets another. Empty: that of the route.'), $text('caller_id')) ?>
<?= $row('did', _('DID'), _('The DID of callbacks in reports of the queue log. Empty: none.'), $text('did')) ?>
<?= $row('outbound', _('Way outside'), _('How clients of this queue are dialled, with {number} for the number. Empty: as for all queues.'), $text('outbound')) ?>
